// SPDX-License-Identifier: MIT OR Apache-2.0
//! The spin lock, with the checks that `exo-hal` has under `lock-checks` but for the order of locks.

use std::{
    cell::Cell,
    fmt,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, MutexGuard};

thread_local! {
    /// Locks that this thread holds: those that no program's memory may be touched under, and the others.
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// A lock that is held for a short, bounded time and never across a switch to another task.
pub struct SpinLock<T: ?Sized> {
    over_faults: bool,
    value: Mutex<T>,
}

/// Access to what a [`SpinLock`] guards.
pub struct SpinGuard<'a, T: ?Sized> {
    over_faults: bool,
    value: MutexGuard<'a, T>,
}

impl<T> SpinLock<T> {
    /// A free lock.
    pub const fn new(value: T) -> Self {
        Self { over_faults: false, value: Mutex::new(value) }
    }

    /// A free lock of a kind of which several may be held. The order of locks is not looked at here.
    pub const fn nested(value: T) -> Self {
        Self::new(value)
    }

    /// A free lock that may be held while a program's memory is touched.
    pub const fn held_over_faults(value: T) -> Self {
        Self { over_faults: true, value: Mutex::new(value) }
    }

    /// Both [`nested`](Self::nested) and [`held_over_faults`](Self::held_over_faults).
    pub const fn nested_over_faults(value: T) -> Self {
        Self::held_over_faults(value)
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> SpinGuard<'_, T> {
        SpinGuard::new(self.value.lock(), self.over_faults)
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        Some(SpinGuard::new(self.value.try_lock()?, self.over_faults))
    }

    /// The value, which nobody else can have at the moment.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: Default> Default for SpinLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<'a, T: ?Sized> SpinGuard<'a, T> {
    fn new(value: MutexGuard<'a, T>, over_faults: bool) -> Self {
        LOCKS.fetch_add(1, Ordering::Relaxed);
        let (usual, over) = HELD.get();
        HELD.set(if over_faults { (usual, over + 1) } else { (usual + 1, over) });
        Self { over_faults, value }
    }
}

impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        let (usual, over) = HELD.get();
        HELD.set(if self.over_faults { (usual, over - 1) } else { (usual - 1, over) });
    }
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// How often a lock was taken, by anybody.
static LOCKS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn locks() -> u64 {
    LOCKS.load(Ordering::Relaxed)
}

/// To be called by what sleeps, or may.
///
/// # Panics
/// If a spin lock is held.
#[track_caller]
pub fn may_sleep() {
    assert!(HELD.get() == (0, 0), "sleeping with a spin lock held");
}

/// The same for what touches a program's memory.
#[track_caller]
pub(crate) fn may_fault() {
    assert!(HELD.get().0 == 0, "touching a program's memory with a spin lock held");
}

/// The same for what lets interrupts in.
#[track_caller]
pub(crate) fn may_be_interrupted() {
    assert!(HELD.get() == (0, 0), "letting interrupts in with a spin lock held");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_counted_while_it_is_held() {
        let (usual, over_faults) = (SpinLock::new(1), SpinLock::held_over_faults(2));
        may_sleep();
        let guard = over_faults.lock();
        may_fault();
        assert!(std::panic::catch_unwind(may_sleep).is_err());
        drop(guard);
        let guard = usual.try_lock().unwrap();
        assert!(std::panic::catch_unwind(may_fault).is_err());
        drop(guard);
        may_be_interrupted();
    }
}
