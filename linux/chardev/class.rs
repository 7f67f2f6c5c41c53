// SPDX-License-Identifier: GPL-2.0

//! Classes: `/sys/class/NAME`, the devices that do the same thing for programs.
//!
//! C header: [`include/linux/device/class.h`](srctree/include/linux/device/class.h)

use super::device::DeviceBase;
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// A device class.
///
/// Its devices are the nodes that [`Registration`](super::Registration) makes, and only those, so
/// the callbacks below know what they are given.
///
/// # Invariants
///
/// `inner` holds a registered `struct class`, and each of its devices is the `dev` of a [`DeviceBase`].
#[pin_data(PinnedDrop)]
pub struct Class {
    #[pin]
    inner: Opaque<bindings::class>,
}

// SAFETY: A registered `struct class` is not bound to a thread.
unsafe impl Send for Class {}

// SAFETY: The driver core synchronises all access to a registered `struct class`.
unsafe impl Sync for Class {}

impl Class {
    /// Registers a class: `/sys/class/name`.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] when there is a class of this name, [`ENOMEM`].
    pub fn new(name: &'static CStr) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                // INVARIANT: Registered on success, and `as_raw()` is for `Registration` alone.
                inner <- Opaque::try_ffi_init(|slot: *mut bindings::class| {
                    // SAFETY: `slot` can be written to.
                    unsafe {
                        slot.write(bindings::class {
                            name: name.as_char_ptr(),
                            devnode: Some(Self::devnode),
                            ..pin_init::zeroed()
                        })
                    };

                    // SAFETY: `slot` holds a class that is pinned, and unregistered before it goes.
                    to_result(unsafe { bindings::class_register(slot) })
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the `struct class`. Only for devices that are the `dev` of a [`DeviceBase`].
    pub(super) fn as_raw(&self) -> *mut bindings::class {
        self.inner.get()
    }

    /// Tells devtmpfs, which makes the nodes, and udev the permissions of a node.
    ///
    /// # Safety
    ///
    /// `dev` must be a device of a [`Class`]. `mode` must be null or valid for writing.
    unsafe extern "C" fn devnode(
        dev: *const bindings::device,
        mode: *mut bindings::umode_t,
    ) -> *mut c_char {
        // Null when the node is being removed, where nobody asks for its permissions.
        if !mode.is_null() {
            // SAFETY: By the invariants of `Class` the device is that of a `DeviceBase`, which the caller
            // keeps, and `mode` can be written to.
            unsafe { *mode = (*DeviceBase::from_device(dev)).mode() };
        }

        // No name of our own: the node is called as the device is.
        core::ptr::null_mut()
    }
}

#[pinned_drop]
impl PinnedDrop for Class {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the type invariants. Each device holds a reference to its class, so
        // there is none any more.
        unsafe { bindings::class_unregister(self.inner.get()) };
    }
}
