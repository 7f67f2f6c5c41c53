// SPDX-License-Identifier: GPL-2.0

//! Being told when the machine turns out to be a clone of another.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use crate::{
    registry,
    shim, //
};
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// Drops the entropy of all devices whenever the machine was cloned, until it is dropped itself.
///
/// # Invariants
///
/// The notifier is registered.
pub(crate) struct Notifier(Pin<KBox<Opaque<bindings::notifier_block>>>);

// SAFETY: A registered notifier is not bound to a thread.
unsafe impl Send for Notifier {}

// SAFETY: `&Notifier` allows nothing.
unsafe impl Sync for Notifier {}

impl Notifier {
    /// Registers it.
    ///
    /// # Safety
    ///
    /// The returned value must be dropped before the module is unloaded.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) unsafe fn new() -> Result<Self> {
        let block = KBox::pin(
            Opaque::new(bindings::notifier_block {
                notifier_call: Some(cloned),
                ..pin_init::zeroed()
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: Stays where it is until it is unregistered.
        to_result(unsafe { shim::my_rng_register_vmfork_notifier(block.get()) })?;
        // INVARIANT: Registered just now.
        Ok(Self(block))
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariants. Waits for calls that are under way.
        unsafe { shim::my_rng_unregister_vmfork_notifier(self.0.get()) };
    }
}

/// # Safety
///
/// None; the kernel's type wants it.
unsafe extern "C" fn cloned(
    _block: *mut bindings::notifier_block,
    _action: c_ulong,
    _data: *mut c_void,
) -> c_int {
    registry::drop_entropy();
    // NOTIFY_OK
    1
}
