// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lock that waits asleep: for what may take longer than a spin lock may be held. It guards no data of its own.

use core::sync::atomic::{AtomicBool, Ordering};

use exo_hal::sync::may_sleep;

use super::wait::{Ended, WaitQueue, wait_on};
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
        self.wait(false).map_err(|_| Errno::EINTR)
    }

    /// The same for a call that signals interrupt and that is done again then.
    pub fn lock_or_restart(&self) -> Result<MutexGuard<'_>> {
        self.wait(true).map_err(|_| Errno::RESTART)
    }

    /// Takes the lock unless somebody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_>> {
        (!self.locked.swap(true, Ordering::SeqCst)).then(|| MutexGuard(self))
    }

    fn wait(&self, interruptible: bool) -> core::result::Result<MutexGuard<'_>, Ended> {
        may_sleep();
        wait_on(&[&self.waiters], None, interruptible, || self.try_lock())
    }
}

impl Drop for MutexGuard<'_> {
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::SeqCst);
        self.0.waiters.wake_all();
    }
}
