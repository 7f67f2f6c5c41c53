// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/my_rngN`, as on Linux (`abi/my-rng-abi` is the contract), and the kernel's own random numbers fed by these devices.
//!
//! | call | does |
//! | --- | --- |
//! | `read` | bytes of the entropy stream, straight from where the device wrote them |
//! | `ioctl` | numbers of the seedable stream; a queue of the program's own |
//! | `mmap` | that queue |
//! | `poll` | waits for bytes, or for the program's own queue |

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::{boxed::Box, collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};

use exo_drivers::{
    my_rng::{Delivery, MyRng, OwnQueue, OwnState, Statistics},
    random::{Awaited, Listener, RandomDevice},
};
use exo_fs::sysfs;
use exo_hal::{cpu, mm::user::without_waiting, sync::SpinLock, time};
use exo_logic::areas::Flags;
use my_rng_abi::ioctl::{
    CLASS_NAME, FIRST_DEVICE_NAME, MAP_INFO, RAND, RAND64, SEED, SEED_WIDE, SEEK, WAKE, WIDE_SEED_WORDS,
    WideSeed,
};
use my_rng_abi::registers::SEED_SEEK;

use crate::{
    errno::{Errno, Result},
    fs::{
        device::{self, Opener},
        file::{File, Io, MapRequest},
        inode::kind,
        poll::Events,
    },
    io_buf::IoBuf,
    mm::{Pages, Sharing, VmObject},
    random,
    sched::{
        timer::{self, Action},
        wait::{Ended, WaitQueue, wait_on},
    },
    task::has_signal,
    user,
};

/// Everybody may draw, as with /dev/urandom.
const NODE_MODE: u32 = 0o666;
/// How much is copied at a time before others get a chance.
const CHUNK: usize = 256 << 10;
/// How long a sleeper waits before it looks whether the device has died.
pub(super) const LOOK_AFTER_NS: u64 = 250_000_000;
/// How long somebody waits awake: a device that is at work needs some microseconds for a buffer, less than sleeping costs.
const PATIENCE_NS: u64 = 20_000;
/// Between two helpings for the kernel's own generator.
pub(super) const FEED_NS: u64 = 1_000_000_000;
/// Bytes of one helping: a key of ChaCha20.
const HELPING: usize = 32;

/// A device, and those who wait for it.
struct Shared {
    device: Arc<MyRng>,
    changed: WaitQueue,
}

impl Listener for Shared {
    fn happened(&self) {
        self.changed.wake_all();
    }
}

/// The devices by number.
static DEVICES: SpinLock<BTreeMap<u32, Arc<Shared>>> = SpinLock::new(BTreeMap::new());
static IS_FED: AtomicBool = AtomicBool::new(false);

fn node_name(number: u32) -> String {
    format!("{CLASS_NAME}{number}")
}

/// A device has come. Any other kind of random device is [`hwrng`](super::hwrng)'s.
pub fn add(device: Arc<dyn RandomDevice>) -> Result<()> {
    let Ok(device) = device.as_any().downcast::<MyRng>() else { return Ok(()) };
    let shared = Arc::new(Shared { device: device.clone(), changed: WaitQueue::new() });
    device.listen(shared.clone());
    let (number, is_first) = {
        let mut devices = DEVICES.lock();
        let number = (0..).find(|number| !devices.contains_key(number)).ok_or(Errno::ENOSPC)?;
        let is_first = devices.is_empty();
        devices.insert(number, shared.clone());
        (number, is_first)
    };
    device::announce(&node_name(number), kind::CHARACTER, NODE_MODE, Arc::new(Inode::Device(shared)))?;
    show(number, &device);
    if is_first {
        device::announce(FIRST_DEVICE_NAME, kind::CHARACTER, NODE_MODE, Arc::new(Inode::First))?;
    }
    if !IS_FED.swap(true, Ordering::Relaxed) {
        feed();
    }
    Ok(())
}

/// How an attribute puts a figure into words.
type Wording = fn(Statistics) -> String;

/// What a device does, in /sys/class/my_rng/my_rngN as on Linux.
fn show(number: u32, device: &Arc<MyRng>) {
    let attributes: [(&str, Wording); 5] = [
        ("queues", |figures| format!("{}\n", figures.queues)),
        ("depth", |figures| format!("{}\n", figures.depth)),
        ("mapped_queues", |figures| format!("{} of {}\n", figures.own_in_use, figures.own)),
        ("interrupts", |figures| format!("{}\n", figures.interrupts)),
        ("doorbells", |figures| format!("{}\n", figures.doorbells)),
    ];
    for (name, text) in attributes {
        let device = Arc::downgrade(device);
        let show = move || device.upgrade().map(|device| text(device.statistics())).unwrap_or_default();
        sysfs::add_text(&format!("class/{CLASS_NAME}/{}/{name}", node_name(number)), show);
    }
}

/// A device has gone; files that are open say so.
pub fn remove(name: &str) {
    let (gone, is_last) = {
        let mut devices = DEVICES.lock();
        let number = devices.iter().find(|(_, s)| RandomDevice::name(&*s.device) == name).map(|(n, _)| *n);
        (number.and_then(|n| devices.remove(&n).map(|shared| (n, shared))), devices.is_empty())
    };
    let Some((number, shared)) = gone else { return };
    shared.changed.wake_all();
    device::withdraw(&node_name(number));
    sysfs::remove(&format!("class/{CLASS_NAME}/{}", node_name(number)));
    if is_last {
        device::withdraw(FIRST_DEVICE_NAME);
    }
}

/// Gives the kernel's own generator some bytes of each device, now and from time to time.
fn feed() {
    let devices: Vec<_> = DEVICES.lock().values().cloned().collect();
    devices.iter().for_each(|shared| feed_from(&*shared.device));
    timer::add(time::now_ns() + FEED_NS, Action::Call(feed));
}

/// Gives the kernel's own generator a helping of a device's bytes, if some are there.
pub(super) fn feed_from(device: &dyn RandomDevice) {
    let mut helping = [0; HELPING];
    let mut filled = 0;
    let drawn = device.draw(HELPING, &mut |page, offset, length| {
        let Some(part) = helping.get_mut(filled..filled + length) else { return 0 };
        page.read_bytes(offset, part);
        filled += length;
        length
    });
    if drawn.is_ok() {
        random::feed(helping.get(..filled).unwrap_or_default());
    }
}

/// What a node stands for.
enum Inode {
    /// This device.
    Device(Arc<Shared>),
    /// The one that is the first when a program opens the node.
    First,
}

impl Opener for Inode {
    fn open(&self, _flags: u32) -> Result<Box<dyn File>> {
        let shared = match self {
            Self::Device(shared) => shared.clone(),
            Self::First => DEVICES.lock().values().next().cloned().ok_or(Errno::ENODEV)?,
        };
        Ok(Box::new(RngFile { shared, own: SpinLock::new(None), is_mapped: AtomicBool::new(false) }))
    }
}

/// An open file.
struct RngFile {
    shared: Arc<Shared>,
    /// The queue that the program reads itself, once it has asked for it. Shared with the mapping, which may last longer.
    own: SpinLock<Option<Arc<OwnQueue>>>,
    is_mapped: AtomicBool,
}

impl RngFile {
    fn device(&self) -> &MyRng {
        &self.shared.device
    }

    /// Waits until what was asked for is there, or the device is found dead.
    fn wait(&self, awaited: Awaited) -> Result<()> {
        let reached = || self.device().is_reached(awaited).then_some(());
        let patience = time::now_ns() + PATIENCE_NS;
        while time::now_ns() < patience {
            if reached().is_some() {
                return Ok(());
            }
            core::hint::spin_loop();
        }
        let deadline = time::now_ns() + LOOK_AFTER_NS;
        match wait_on(&[&self.shared.changed], Some(deadline), true, reached) {
            Ok(()) => Ok(()),
            Err(Ended::TimedOut) => Ok(self.device().look()?),
            Err(Ended::Interrupted) => Err(Errno::RESTART),
        }
    }

    /// Copies what is there, up to `length` bytes; how many, and whether the reader's memory was the end.
    fn copy(&self, to: &mut IoBuf<'_>, length: usize) -> Result<(usize, bool)> {
        // With the queue locked.
        let drawn = without_waiting(|| {
            self.device().draw(length, &mut |page, offset, bytes| {
                to.put_frame(page.frame(), offset, bytes).unwrap_or(0)
            })
        })?;
        Ok((drawn.bytes, drawn.refused))
    }

    /// One step of a read: how many bytes more, none at the end.
    fn step(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        let length = to.left();
        loop {
            match self.copy(to, length.min(CHUNK))? {
                // Its page may have to be waited for, which is not done with the queue locked.
                (0, true) => to.fault_in(1)?,
                (0, false) if io.no_wait => return Err(Errno::EAGAIN),
                (0, false) => {
                    if let Some(awaited) = self.device().await_bytes(length)? {
                        self.wait(awaited)?;
                    }
                }
                (bytes, _) => return Ok(bytes),
            }
            if has_signal() {
                return Err(Errno::RESTART);
            }
        }
    }

    /// Gives the program a number at `to`, or takes none from the stream.
    fn number<const N: usize, const BYTES: usize>(
        &self,
        to: usize,
        number: impl Fn([u32; N]) -> [u8; BYTES],
    ) -> Result<()> {
        let deliver = |words| user::now::copy_out(to, &number(words)).is_ok();
        loop {
            match self.device().draw_numbers(deliver)? {
                Delivery::Done => return Ok(()),
                // Its page may have to be waited for, which is not done with the device's queue locked.
                Delivery::Refused => user::make_writable(to, BYTES)?,
                Delivery::Empty => {
                    if let Some(awaited) = self.device().await_numbers()? {
                        self.wait(awaited)?;
                    }
                }
            }
            if has_signal() {
                return Err(Errno::RESTART);
            }
        }
    }

    /// The file's own queue; the first call asks the device for it.
    fn own(&self) -> Result<Arc<OwnQueue>> {
        let mut own = self.own.lock();
        if let Some(queue) = &*own {
            return Ok(queue.clone());
        }
        let queue = Arc::new(self.device().open_queue()?);
        *own = Some(queue.clone());
        Ok(queue)
    }

    fn own_if_any(&self) -> Option<Arc<OwnQueue>> {
        self.own.lock().clone()
    }

    fn map_info(&self, argument: usize) -> Result<()> {
        let info = self.own()?.info();
        let mut bytes = [0; size_of::<my_rng_abi::ioctl::MapInfo>()];
        let words = [info.state_offset, info.buffers_offset, info.depth, info.buffer_size];
        let all = info.length.to_ne_bytes().into_iter().chain(words.into_iter().flat_map(u32::to_ne_bytes));
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        Ok(user::copy_out(argument, &bytes)?)
    }
}

impl File for RngFile {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        to.count(|to| {
            while !to.is_empty() {
                self.step(io, to)?;
                if has_signal() {
                    break;
                }
                cpu::interrupt_window();
            }
            Ok(())
        })
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        match request {
            RAND => self.number(argument, |[number]| number.to_ne_bytes())?,
            RAND64 => {
                self.number(argument, |[high, low]| ((u64::from(high) << 32) | u64::from(low)).to_ne_bytes())?
            }
            SEED => self.device().seed(user::read(argument)?)?,
            SEED_WIDE => {
                let request = WideSeed::from_words(user::read::<[u32; WIDE_SEED_WORDS]>(argument)?);
                let command = request.command().ok_or(Errno::EINVAL)?;
                self.device().command_seed(command, &request.seed, request.stream)?;
            }
            SEEK => {
                let words = user::read::<[u32; 2]>(argument)?;
                self.device().command_seed(SEED_SEEK, &words, 0)?;
            }
            MAP_INFO => self.map_info(argument)?,
            WAKE => self.own_if_any().ok_or(Errno::EINVAL)?.wake()?,
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    fn events(&self) -> Events {
        if let Some(own) = self.own_if_any() {
            return match own.state() {
                OwnState::Waiting => Events::empty(),
                OwnState::Ready => Events::IN,
                OwnState::Failed => Events::IN | Events::ERR,
                OwnState::Gone => Events::IN | Events::ERR | Events::HUP,
            };
        }
        match self.device().await_bytes(0) {
            Ok(None) => Events::IN,
            // What came before the device saw that an interrupt is wanted came without one.
            Ok(Some(awaited)) if self.device().is_reached(awaited) => Events::IN,
            Ok(Some(_)) => Events::empty(),
            Err(_) => Events::ERR,
        }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.changed)
    }

    /// All of the file's own queue, once. Who maps it is the only one to see those bytes: a child does not inherit it.
    fn map(&self, request: MapRequest) -> Result<Option<Arc<dyn VmObject>>> {
        // Its size is only known to who has asked for it.
        let own = self.own_if_any().ok_or(Errno::EINVAL)?;
        let frames: Vec<_> = own.pages().map(|page| page.frame().clone()).collect();
        let is_whole = request.offset == 0 && request.length as u64 == own.info().length;
        if !is_whole || !request.area.contains(Flags::SHARED) || request.area.contains(Flags::EXECUTE) {
            return Err(Errno::EINVAL);
        }
        if self.is_mapped.swap(true, Ordering::Relaxed) {
            return Err(Errno::EBUSY);
        }
        Ok(Some(Arc::new(Pages::of_frames(frames, Sharing::OneProcess, own))))
    }
}
