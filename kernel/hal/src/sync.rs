// SPDX-License-Identifier: MIT OR Apache-2.0
//! The spin lock. Interrupts are off in the kernel (see the crate's documentation), so it neither disables nor restores
//! them. While it waits it answers TLB shoot-downs: the CPU that holds the lock may be waiting for ours to flush.

use core::sync::atomic::{AtomicBool, Ordering};

use lock_api::{GuardSend, RawMutex};

use crate::{cpu::percpu, tlb::flush};

/// The lock word; use [`SpinLock`].
pub struct RawSpin(AtomicBool);

/// A lock that is held for a short, bounded time and never across a switch to another task.
pub type SpinLock<T> = lock_api::Mutex<RawSpin, T>;
/// Access to what a [`SpinLock`] guards.
pub type SpinGuard<'a, T> = lock_api::MutexGuard<'a, RawSpin, T>;

/// Spins after which a lock counts as stuck: tens of seconds, far longer than any holder needs, even on an emulated CPU
/// that the host does not run for a while.
const STUCK: u64 = 1 << 32;

// SAFETY: `lock` returns only after this CPU moved the word from false to true; `unlock` is the only way back.
unsafe impl RawMutex for RawSpin {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "lock_api asks for an initial value in this form"
    )]
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = GuardSend;

    #[inline]
    fn lock(&self) {
        percpu::count_lock();
        if self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_slow();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl RawSpin {
    #[cold]
    fn lock_slow(&self) {
        let mut spins = 0;
        while !self.try_lock() {
            while self.is_locked() {
                flush::answer();
                core::hint::spin_loop();
                spins += 1;
                assert!(spins < STUCK, "a spin lock is stuck");
            }
        }
    }
}
