// SPDX-License-Identifier: MIT OR Apache-2.0
//! The spin lock. Interrupts are off in the kernel (see the crate's documentation), so it neither disables nor restores
//! them. While it waits it answers TLB shoot-downs: the CPU that holds the lock may be waiting for ours to flush.
//!
//! With the feature `lock-checks`, each lock belongs to a class, the place in the source where it is made. Taking locks of two classes in
//! both orders, two of one class, or sleeping or touching a program's memory with one held crashes the kernel with the places' names, also when nobody waits. Without the
//! feature none of it is compiled.

#[cfg(feature = "lock-checks")]
mod checks;

use core::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use lock_api::{GuardSend, RawMutex};

use crate::{cpu::percpu, tlb::flush};

/// The lock word of a [`SpinLock`].
pub struct RawSpin {
    locked: AtomicBool,
    #[cfg(feature = "lock-checks")]
    class: checks::LockClass,
}

/// A lock that is held for a short, bounded time and never across a switch to another task.
pub struct SpinLock<T: ?Sized>(lock_api::Mutex<RawSpin, T>);
/// Access to what a [`SpinLock`] guards.
pub type SpinGuard<'a, T> = lock_api::MutexGuard<'a, RawSpin, T>;

/// How a lock is used, for the checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Usual,
    /// See [`SpinLock::nested`].
    Nested,
    /// See [`SpinLock::held_over_faults`].
    OverFaults,
    /// Both.
    NestedOverFaults,
}

impl<T> SpinLock<T> {
    /// A free lock.
    #[inline]
    #[cfg_attr(feature = "lock-checks", track_caller)]
    pub const fn new(value: T) -> Self {
        Self(lock_api::Mutex::from_raw(RawSpin::new(Use::Usual), value))
    }

    /// A free lock of which one may be taken while others that were made at the same place are held: who takes them has an order for
    /// them, such as by depth in a tree.
    #[inline]
    #[cfg_attr(feature = "lock-checks", track_caller)]
    pub const fn nested(value: T) -> Self {
        Self(lock_api::Mutex::from_raw(RawSpin::new(Use::Nested), value))
    }

    /// A free lock that is held while a program's memory is touched by the functions of [`now`](crate::mm::user::now), which is otherwise
    /// forbidden.
    #[inline]
    #[cfg_attr(feature = "lock-checks", track_caller)]
    pub const fn held_over_faults(value: T) -> Self {
        Self(lock_api::Mutex::from_raw(RawSpin::new(Use::OverFaults), value))
    }
}

impl<T> SpinLock<T> {
    /// Both [`nested`](Self::nested) and [`held_over_faults`](Self::held_over_faults).
    #[inline]
    #[cfg_attr(feature = "lock-checks", track_caller)]
    pub const fn nested_over_faults(value: T) -> Self {
        Self(lock_api::Mutex::from_raw(RawSpin::new(Use::NestedOverFaults), value))
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> SpinGuard<'_, T> {
        self.0.lock()
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        self.0.try_lock()
    }

    /// The value, which nobody else can have at the moment.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T: Default> Default for SpinLock<T> {
    #[cfg_attr(feature = "lock-checks", track_caller)]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// To be called by what sleeps, or may: no spin lock may be held. Compiled with the feature `lock-checks` alone.
#[inline(always)]
pub fn may_sleep() {
    #[cfg(feature = "lock-checks")]
    checks::none_is_held("sleeping");
}

/// The same for what touches a program's memory by functions whose faults never wait: few locks may be held.
#[inline(always)]
pub(crate) fn may_fault() {
    #[cfg(feature = "lock-checks")]
    checks::none_is_held_over_faults();
}

/// The same for what touches a program's memory by functions whose faults may wait.
#[inline(always)]
pub(crate) fn may_fault_and_wait() {
    #[cfg(feature = "lock-checks")]
    checks::none_is_held("touching a program's memory");
}

/// The same for what lets interrupts in.
#[inline(always)]
pub(crate) fn may_be_interrupted() {
    #[cfg(feature = "lock-checks")]
    checks::none_is_held("letting interrupts in");
}

/// Spins after which a lock counts as stuck: tens of seconds, far longer than any holder needs, even on an emulated CPU
/// that the host does not run for a while.
const STUCK: u64 = 1 << 32;

// SAFETY: `lock` returns only after this CPU moved the word from false to true; `unlock` is the only way back.
unsafe impl RawMutex for RawSpin {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "lock_api asks for an initial value in this form"
    )]
    const INIT: Self = Self::new(Use::Usual);
    type GuardMarker = GuardSend;

    #[inline]
    fn lock(&self) {
        percpu::count_lock();
        #[cfg(feature = "lock-checks")]
        checks::before_lock(self);
        if self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_slow();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let taken = self.take();
        #[cfg(feature = "lock-checks")]
        if taken {
            checks::after_try(self);
        }
        taken
    }

    #[inline]
    unsafe fn unlock(&self) {
        #[cfg(feature = "lock-checks")]
        checks::before_unlock(self);
        self.locked.store(false, Ordering::Release);
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }
}

impl RawSpin {
    #[inline]
    #[cfg_attr(feature = "lock-checks", track_caller)]
    #[cfg_attr(not(feature = "lock-checks"), expect(unused_variables, reason = "for the checks alone"))]
    const fn new(how: Use) -> Self {
        Self {
            locked: AtomicBool::new(false),
            #[cfg(feature = "lock-checks")]
            class: checks::LockClass::new(how),
        }
    }

    #[inline]
    fn take(&self) -> bool {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn lock_slow(&self) {
        let mut spins = 0;
        while !self.take() {
            while self.is_locked() {
                flush::answer();
                core::hint::spin_loop();
                spins += 1;
                assert!(spins < STUCK, "a spin lock is stuck");
            }
        }
    }
}
