// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cell that is written once, as a rule at boot, and read without a lock after that.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    sync::atomic::{AtomicU8, Ordering},
};

/// Set once, read often; reading costs one load.
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by the one caller that moves `state` from 0 to 1 and only read after it became 2.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Sets the value.
    ///
    /// # Panics
    /// When it was set before.
    pub fn set(&self, value: T) -> &T {
        assert!(self.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok(), "set twice");
        // SAFETY: the exchange above lets exactly one caller come here, and readers wait for state 2.
        unsafe { (*self.value.get()).write(value) };
        self.state.store(2, Ordering::Release);
        self.get().expect("just set")
    }

    /// The value, if it was set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) == 2 {
            // SAFETY: state 2 means that the value is written and never changes again.
            Some(unsafe { (*self.value.get()).assume_init_ref() })
        } else {
            None
        }
    }
}
