// SPDX-License-Identifier: GPL-2.0

//! Sleepable RCU.

use core::marker::PhantomPinned;
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::LockClassKey,
    types::{NotThreadSafe, Opaque},
};

use crate::shim;

/// # Invariants
///
/// `inner` is initialised.
#[pin_data(PinnedDrop)]
pub struct Srcu {
    #[pin]
    inner: Opaque<bindings::srcu_struct>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Made to be used by many threads.
unsafe impl Send for Srcu {}

// SAFETY: Made to be used by many threads.
unsafe impl Sync for Srcu {}

impl Srcu {
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self, Error> {
        // INVARIANT: As is done here.
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(|slot| {
                // SAFETY: `slot` has room for one; name and key are static.
                to_result(unsafe {
                    shim::kernel_7_2_srcu_init(slot, name.as_char_ptr(), key.as_ptr())
                })
            }),
            _pin: PhantomPinned,
        })
    }

    pub fn read_lock(&self) -> Guard<'_> {
        // SAFETY: Initialised, by the type invariants.
        let index = unsafe { shim::kernel_7_2_srcu_read_lock(self.inner.get()) };
        Guard {
            srcu: self,
            index,
            _not_send: NotThreadSafe,
        }
    }

    pub fn synchronize(&self) {
        // SAFETY: Initialised, by the type invariants.
        unsafe { bindings::synchronize_srcu(self.inner.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for Srcu {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Initialised, by the type invariants. Guards borrow from it, so none is left.
        unsafe {
            bindings::srcu_barrier(self.inner.get());
            bindings::cleanup_srcu_struct(self.inner.get());
        }
    }
}

/// # Invariants
///
/// `index` is what locking `srcu` gave.
#[must_use = "if unused, the lock will be immediately unlocked"]
pub struct Guard<'a> {
    srcu: &'a Srcu,
    index: c_int,
    _not_send: NotThreadSafe,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { shim::kernel_7_2_srcu_read_unlock(self.srcu.inner.get(), self.index) };
    }
}

#[macro_export]
macro_rules! new_srcu {
    ($($name:literal)?) => {
        $crate::sync::Srcu::new($crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}
