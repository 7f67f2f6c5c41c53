// SPDX-License-Identifier: MIT OR Apache-2.0
//! signalfd: signals are read instead of handled. Which ones there are depends on who reads: it gets what is pending for its own thread and
//! process, also by a descriptor that its parent has made.

use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use alloc::sync::Arc;

use exo_vfs::{
    OpenFile,
    events::Events,
    file::{File, Io},
};
use linux_raw_sys::general as abi;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::{
    anonymous,
    errno::{Errno, Result},
    fallible,
    io_buf::IoBuf,
    sched::{
        spans,
        wait::{Observer, WaitQueue, wait_on},
    },
    signal::{self, Info, Layout, SignalSet},
    task::{Task, current},
};

/// `struct signalfd_siginfo`.
#[derive(Clone, Copy, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Record {
    signal: u32,
    errno: i32,
    code: i32,
    pid: u32,
    uid: u32,
    fd: i32,
    timer: u32,
    band: u32,
    overrun: u32,
    trap: u32,
    status: i32,
    value: i32,
    pointer: u64,
    user_time: u64,
    system_time: u64,
    address: u64,
    address_bits: u16,
    pad: u16,
    call: i32,
    call_address: u64,
    architecture: u32,
    rest: [u8; 28],
}

const SIZE: usize = size_of::<Record>();
const _: () = assert!(SIZE == 128);

/// What a program listens to.
pub struct SignalFd {
    mask: AtomicU64,
    /// Told when a signal comes for a process that has asked for it.
    changed: WaitQueue,
}

struct Handle(Arc<SignalFd>);

/// Makes one for the signals in `mask`. Of the `O_` bits `flags`, O_NONBLOCK counts.
///
/// # Errors
/// ENOMEM.
pub fn create(mask: SignalSet, flags: u32) -> Result<Arc<OpenFile>> {
    let new = SignalFd { mask: AtomicU64::new(mask.0), changed: WaitQueue::new() };
    anonymous::open(Handle(fallible::arc(new)?), 0o600, abi::O_RDWR | flags & abi::O_NONBLOCK)
}

/// The one behind an open file; EINVAL if it is none.
pub fn of(file: &OpenFile) -> Result<&SignalFd> {
    file.file().downcast::<Handle>().map(|handle| &*handle.0).ok_or(Errno::EINVAL)
}

impl Record {
    fn new(info: &Info) -> Self {
        let [first, second, third, fourth, ..] = info.fields;
        let (low, high) = (first as u32, (first >> 32) as u32);
        let mut record = Self::new_zeroed();
        (record.signal, record.errno, record.code) = (info.signal as u32, info.errno, info.code);
        match info.layout() {
            Layout::Sender => (record.pid, record.uid) = (low, high),
            Layout::Queued => {
                (record.pid, record.uid) = (low, high);
                (record.pointer, record.value) = (second, second as i32);
            }
            Layout::Timer => {
                (record.timer, record.overrun) = (low, high);
                (record.pointer, record.value) = (second, second as i32);
            }
            Layout::File => (record.band, record.fd) = (low, second as i32),
            Layout::Fault => record.address = first,
            Layout::Child => {
                (record.pid, record.uid, record.status) = (low, high, second as i32);
                (record.user_time, record.system_time) = (third, fourth);
            }
        }
        record
    }
}

impl Observer for SignalFd {
    fn changed(&self) {
        self.changed.wake_for((Events::IN | Events::RDNORM).bits());
    }
}

impl SignalFd {
    fn mask(&self) -> SignalSet {
        SignalSet(self.mask.load(Ordering::Acquire))
    }

    /// Listens to other signals from now on.
    pub fn set_mask(&self, mask: SignalSet) {
        self.mask.store(mask.0, Ordering::Release);
        // Who waits looks again: in the running process by its queue, others as soon as a signal comes.
        current().process.signalled.wake_all();
    }

    /// The next signal for who reads.
    fn take(&self, no_wait: bool) -> Result<Info> {
        let task = reader().ok_or(Errno::EAGAIN)?;
        let take = || signal::take_pending(&task, self.mask());
        if no_wait {
            return take().ok_or(Errno::EAGAIN);
        }
        wait_on(&[&task.process.signalled], None, true, take).map_err(|_| Errno::RESTART)
    }
}

/// Whose signals are meant: those of the running thread, or, if that is one of the kernel's, of the process that it works for.
fn reader() -> Option<Arc<Task>> {
    let task = current();
    if task.process.pid != 0 {
        return Some(task.arc());
    }
    let employer = task.process.parent.lock().upgrade();
    employer?.any_thread()
}

impl File for Handle {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        if to.left() < SIZE {
            return Err(Errno::EINVAL);
        }
        let mut no_wait = io.no_wait;
        to.count(|to| {
            while to.left() >= SIZE {
                // As on Linux, what cannot be told any more is lost.
                to.put_value(&Record::new(&self.0.take(no_wait)?))?;
                no_wait = true;
                if spans::point() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn events(&self) -> Events {
        let pending = reader().map_or(0, |reader| signal::pending(&reader).0);
        if pending & self.0.mask().0 != 0 { Events::IN } else { Events::empty() }
    }

    fn has_bands(&self) -> bool {
        false
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }

    /// Whoever asks for it listens to its own signals from then on.
    fn queue(&self) -> Option<&WaitQueue> {
        let observer: Arc<dyn Observer> = self.0.clone();
        reader()?.process.signalled.observe(&observer).ok()?;
        Some(&self.0.changed)
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("[signalfd]")
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "sigmask:\t{:016x}", self.0.mask().0)
    }
}
