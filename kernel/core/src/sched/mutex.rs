// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lock that waits asleep: for what may take longer than a spin lock may be held. It guards no data of its own.

use core::sync::atomic::{AtomicBool, Ordering};

use exo_hal::sync::may_sleep;

use super::wait::{WaitQueue, wait_on};
use crate::errno::{Errno, Result};

/// The lock. Not for interrupts, and not to be taken while a spin lock is held.
pub struct Mutex {
    locked: AtomicBool,
    waiters: WaitQueue,
}

impl Default for Mutex {
    fn default() -> Self {
        Self::new()
    }
}

/// Unlocks when it is dropped.
pub struct MutexGuard<'a>(&'a Mutex);

impl Mutex {
    /// An unlocked lock.
    pub const fn new() -> Self {
        Self { locked: AtomicBool::new(false), waiters: WaitQueue::new() }
    }

    /// Whether somebody has it at the moment.
    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::SeqCst)
    }

    /// Waits for the lock; EINTR if the task is killed meanwhile.
    pub fn lock(&self) -> Result<MutexGuard<'_>> {
        may_sleep();
        let take = || (!self.locked.swap(true, Ordering::SeqCst)).then_some(());
        wait_on(&[&self.waiters], None, false, take).map_err(|_| Errno::EINTR)?;
        Ok(MutexGuard(self))
    }
}

impl Drop for MutexGuard<'_> {
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::SeqCst);
        self.0.waiters.wake_all();
    }
}
