// SPDX-License-Identifier: GPL-2.0

//! The functions of `my_rng_shim.c`: declared as in `my_rng_shim.h`.

use kernel::{
    bindings,
    prelude::*, //
};

/// `struct hwrng`, which the generated bindings lack. Only ever behind a pointer.
#[repr(C)]
pub(crate) struct RawHwrng {
    _opaque: [u8; 0],
}

/// Reads random bytes: the first argument is what was given to [`my_rng_hwrng_register`].
pub(crate) type HwrngRead = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, bool) -> c_int;

#[expect(
    improper_ctypes,
    reason = "somewhere inside of `struct page` is a type without fields"
)]
extern "C" {
    /// Returns the mask of one CPU.
    pub(crate) fn my_rng_cpu_mask(cpu: u32) -> *const bindings::cpumask;
    /// Counts one more user of a page.
    pub(crate) fn my_rng_get_page(page: *mut bindings::page);
    /// Returns the kernel's address of a page that is not in high memory.
    pub(crate) fn my_rng_page_address(page: *mut bindings::page) -> *mut c_void;
    /// Writes a number to a program; may sleep. Returns 0, or `-EFAULT`.
    pub(crate) fn my_rng_put_user_32(value: u32, to: *mut u32) -> c_int;
    /// As [`my_rng_put_user_32`], for 64 bits.
    pub(crate) fn my_rng_put_user_64(value: u64, to: *mut u64) -> c_int;
    /// Registers a source of entropy. Copies the name.
    pub(crate) fn my_rng_hwrng_register(
        name: *const c_char,
        quality: c_ushort,
        read: HwrngRead,
        context: *mut c_void,
    ) -> *mut RawHwrng;
    /// Unregisters it, after the last reader has left, and frees it.
    pub(crate) fn my_rng_hwrng_unregister(rng: *mut RawHwrng);
    /// Registers a callback for clones of the machine.
    pub(crate) fn my_rng_register_vmfork_notifier(block: *mut bindings::notifier_block) -> c_int;
    /// Unregisters it.
    pub(crate) fn my_rng_unregister_vmfork_notifier(block: *mut bindings::notifier_block);
}
