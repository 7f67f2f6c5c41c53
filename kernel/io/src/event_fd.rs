// SPDX-License-Identifier: MIT OR Apache-2.0
//! eventfd: a number that is added to by writing and taken by reading, and that can be waited for.

use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicU32, Ordering},
};

use alloc::sync::Arc;

use exo_hal::sync::SpinLock;
use exo_vfs::{
    OpenFile,
    events::Events,
    file::{File, Io},
};
use linux_raw_sys::general as abi;

use crate::{
    anonymous,
    errno::{Errno, Result},
    io_buf::{IoBuf, IoSource},
    sched::wait::{WaitQueue, wait_for},
};

/// The most that the number can be.
const MOST: u64 = u64::MAX - 1;
/// Bytes of the number in reads and writes.
const SIZE: usize = size_of::<u64>();

struct EventFd {
    count: SpinLock<u64>,
    changed: WaitQueue,
    /// Each read takes 1 (EFD_SEMAPHORE), not all.
    is_semaphore: bool,
    id: u32,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(0);

/// Makes one with this number in it. Of the `O_` bits `flags`, O_NONBLOCK counts.
///
/// # Errors
/// ENOMEM.
pub fn create(count: u64, is_semaphore: bool, flags: u32) -> Result<Arc<OpenFile>> {
    let new = EventFd {
        count: SpinLock::new(count),
        changed: WaitQueue::new(),
        is_semaphore,
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
    };
    anonymous::open(new, 0o600, abi::O_RDWR | flags & abi::O_NONBLOCK)
}

impl EventFd {
    /// What a read gives, if there is anything.
    fn take(&self) -> Option<u64> {
        let mut count = self.count.lock();
        let taken = if self.is_semaphore { (*count).min(1) } else { *count };
        *count -= taken;
        (taken > 0).then_some(taken)
    }

    /// Adds to it, if there is room.
    fn add(&self, value: u64) -> Option<()> {
        let mut count = self.count.lock();
        *count = count.checked_add(value).filter(|sum| *sum <= MOST)?;
        Some(())
    }

    /// Does it now, or waits until it can be done, and tells the others what has become possible.
    fn perform<T>(&self, no_wait: bool, now: Events, mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
        let done = match attempt() {
            Some(done) => done,
            None if no_wait => return Err(Errno::EAGAIN),
            None => wait_for(&self.changed, attempt).map_err(|_| Errno::RESTART)?,
        };
        self.changed.wake_for(now.bits());
        Ok(done)
    }
}

impl File for EventFd {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        if to.left() < SIZE {
            return Err(Errno::EINVAL);
        }
        let value = self.perform(io.no_wait, Events::OUT, || self.take())?;
        to.put_value(&value).map(|()| SIZE)
    }

    fn takes_parts(&self, write: bool) -> bool {
        write
    }

    fn splices(&self, _write: bool) -> bool {
        false
    }

    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        if from.left() != SIZE {
            return Err(Errno::EINVAL);
        }
        let value: u64 = from.take_value()?;
        if value > MOST {
            return Err(Errno::EINVAL);
        }
        self.perform(io.no_wait, Events::IN, || self.add(value)).map(|()| SIZE)
    }

    fn events(&self) -> Events {
        let count = *self.count.lock();
        let mut events = Events::empty();
        events.set(Events::IN, count > 0);
        events.set(Events::OUT, count < MOST);
        events
    }

    fn has_bands(&self) -> bool {
        false
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.changed)
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("[eventfd]")
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        let count = *self.count.lock();
        writeln!(out, "eventfd-count: {count:16x}\neventfd-id: {}", self.id)?;
        writeln!(out, "eventfd-semaphore: {}", u8::from(self.is_semaphore))
    }
}
