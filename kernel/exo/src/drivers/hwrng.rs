// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/hwrng`, as on Linux: the bytes of the first random device that has no node of its own. These devices feed the kernel's own
//! random numbers, too.

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};

use exo_drivers::{
    my_rng::MyRng,
    random::{Awaited, Listener, RandomDevice},
};
use exo_fs::sysfs;
use exo_hal::{sync::SpinLock, time};

use super::my_rng::{FEED_NS, LOOK_AFTER_NS, feed_from};
use crate::{
    errno::{Errno, Result},
    fs::{
        device::{self, Opener},
        file::{File, Io},
        inode::kind,
    },
    io_buf::IoBuf,
    sched::{
        spans,
        timer::{self, Action},
        wait::{Ended, WaitQueue, wait_on},
    },
    task::has_signal,
};

const NODE: &str = "hwrng";
/// As on Linux.
const NODE_MODE: u32 = 0o600;
/// Where Linux says which device it reads.
const SYSFS: &str = "class/misc/hw_random";
/// Bytes that are copied at a time.
const CHUNK: usize = 256;

/// A device, and those who wait for it.
struct Source {
    number: u32,
    device: Arc<dyn RandomDevice>,
    changed: WaitQueue,
}

impl Listener for Source {
    fn happened(&self) {
        self.changed.wake_all();
    }
}

/// The devices in the order in which they came.
static SOURCES: SpinLock<Vec<Arc<Source>>> = SpinLock::new(Vec::new());
static IS_FED: AtomicBool = AtomicBool::new(false);

/// Whether a device belongs here.
pub fn is_for(device: &Arc<dyn RandomDevice>) -> bool {
    !(*device.clone().as_any()).is::<MyRng>()
}

/// A device has come.
pub fn add(device: Arc<dyn RandomDevice>) -> Result<()> {
    let source = {
        let mut sources = SOURCES.lock();
        let number = (0..).find(|number| sources.iter().all(|source| source.number != *number));
        let number = number.ok_or(Errno::ENOSPC)?;
        let source = Arc::new(Source { number, device, changed: WaitQueue::new() });
        sources.push(source.clone());
        source
    };
    source.device.listen(source.clone());
    if SOURCES.lock().len() == 1 {
        device::announce(NODE, kind::CHARACTER, NODE_MODE, Arc::new(Inode))?;
        sysfs::add_text(&format!("{SYSFS}/rng_current"), name_of_current);
    }
    if !IS_FED.swap(true, Ordering::Relaxed) {
        feed();
    }
    Ok(())
}

/// A device has gone; who reads says so.
pub fn remove(name: &str) {
    let (gone, is_last) = {
        let mut sources = SOURCES.lock();
        let place = sources.iter().position(|source| source.device.name() == name);
        (place.map(|place| sources.remove(place)), sources.is_empty())
    };
    let Some(gone) = gone else { return };
    gone.changed.wake_all();
    if is_last {
        device::withdraw(NODE);
        sysfs::remove(SYSFS);
    }
}

fn first() -> Option<Arc<Source>> {
    SOURCES.lock().first().cloned()
}

/// The name that Linux gives it.
fn name_of_current() -> String {
    first().map_or_else(|| "none\n".into(), |source| format!("virtio_rng.{}\n", source.number))
}

/// Gives the kernel's own generator some bytes of each device, now and from time to time.
fn feed() {
    let sources = SOURCES.lock().clone();
    sources.iter().for_each(|source| feed_from(&*source.device));
    timer::add(time::now_ns() + FEED_NS, Action::Call(feed));
}

struct Inode;

impl Opener for Inode {
    fn open(&self, _flags: u32) -> Result<Box<dyn File>> {
        Ok(Box::new(HwRng))
    }
}

/// An open file; each read asks the device that is the first then.
struct HwRng;

impl HwRng {
    /// Takes what is there.
    fn draw(source: &Source, to: &mut [u8]) -> Result {
        let (length, mut filled) = (to.len(), 0);
        source.device.draw(length, &mut |page, offset, bytes| {
            let Some(part) = to.get_mut(filled..filled + bytes) else { return 0 };
            page.read_bytes(offset, part);
            filled += bytes;
            bytes
        })?;
        Ok(filled)
    }

    /// Waits until there is something, or the device is found dead.
    fn wait(source: &Source, awaited: Awaited) -> Result<()> {
        let deadline = time::now_ns() + LOOK_AFTER_NS;
        let reached = || source.device.is_reached(awaited).then_some(());
        match wait_on(&[&source.changed], Some(deadline), true, reached) {
            Ok(()) => Ok(()),
            Err(Ended::TimedOut) => Ok(source.device.look()?),
            Err(Ended::Interrupted) => Err(Errno::RESTART),
        }
    }

    /// One step of a read: how many bytes more.
    fn step(io: Io, to: &mut IoBuf<'_>) -> Result {
        let length = to.left();
        let mut bytes = [0; CHUNK];
        let part = bytes.get_mut(..length.min(CHUNK)).unwrap_or_default();
        loop {
            let source = first().ok_or(Errno::ENODEV)?;
            let filled = Self::draw(&source, part)?;
            if filled > 0 {
                return to.put(part.get(..filled).unwrap_or_default());
            }
            if io.no_wait {
                return Err(Errno::EAGAIN);
            }
            if let Some(awaited) = source.device.await_bytes(length)? {
                Self::wait(&source, awaited)?;
            }
            if has_signal() {
                return Err(Errno::RESTART);
            }
        }
    }
}

impl File for HwRng {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        to.count(|to| {
            while !to.is_empty() {
                Self::step(io, to)?;
                if spans::point() {
                    break;
                }
            }
            Ok(())
        })
    }
}
