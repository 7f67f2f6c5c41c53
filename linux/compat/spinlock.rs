// SPDX-License-Identifier: GPL-2.0

//! Spin locks that disable interrupts.

use kernel::{
    bindings,
    prelude::*,
    sync::lock::{Backend, Lock},
};

use crate::shim;

pub type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

/// 7.3's counts how often interrupts were disabled; this one notes whether they were.
pub struct SpinLockIrqBackend;

// SAFETY: A spinlock of the kernel, which is locked in one way only.
unsafe impl Backend for SpinLockIrqBackend {
    type State = bindings::spinlock_t;
    type GuardState = c_ulong;

    unsafe fn init(
        lock: *mut Self::State,
        name: *const c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: As the caller promises.
        unsafe { bindings::__spin_lock_init(lock, name, key) }
    }

    unsafe fn lock(lock: *mut Self::State) -> c_ulong {
        // SAFETY: As the caller promises.
        unsafe { shim::kernel_7_2_spin_lock_irqsave(lock) }
    }

    unsafe fn try_lock(lock: *mut Self::State) -> Option<c_ulong> {
        let mut flags = 0;
        // SAFETY: As the caller promises.
        unsafe { shim::kernel_7_2_spin_trylock_irqsave(lock, &mut flags) }.then_some(flags)
    }

    unsafe fn unlock(lock: *mut Self::State, flags: &c_ulong) {
        // SAFETY: As the caller promises.
        unsafe { shim::kernel_7_2_spin_unlock_irqrestore(lock, *flags) }
    }

    unsafe fn assert_is_held(lock: *mut Self::State) {
        // SAFETY: As the caller promises.
        unsafe { bindings::spin_assert_is_held(lock) }
    }
}

#[macro_export]
macro_rules! new_spinlock_irq {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::SpinLockIrq::new(
            $inner, $crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}
