// SPDX-License-Identifier: GPL-2.0

//! Classes: `/sys/class/NAME`, the devices that do the same thing for programs.
//!
//! C header: [`include/linux/device/class.h`](srctree/include/linux/device/class.h)

use super::device::DeviceBase;
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::Arc, //
};

/// A device class, with the nodes that [`Registration`](super::Registration) makes.
///
/// Allocated by `class_create()` and not a part of this object, because the kernel can free a class
/// after `class_destroy()` has returned.
///
/// # Invariants
///
/// A registered class, of which each device is the `dev` of a [`DeviceBase`].
pub struct Class(NonNull<bindings::class>);

// SAFETY: A registered `struct class` is not bound to a thread.
unsafe impl Send for Class {}

// SAFETY: The driver core synchronises all access to a registered `struct class`.
unsafe impl Sync for Class {}

impl Class {
    /// Registers a class: `/sys/class/name`.
    ///
    /// # Safety
    ///
    /// The last reference must be dropped before the module is unloaded: the kernel calls the
    /// module's code through the class.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] when there is a class of this name, [`ENOMEM`].
    pub unsafe fn new(name: &'static CStr) -> Result<Arc<Self>> {
        // SAFETY: A static C string.
        let class = from_err_ptr(unsafe { bindings::class_create(name.as_char_ptr()) })?;
        let class = NonNull::new(class).ok_or(ENOMEM)?;

        // SAFETY: Registered just now, and nobody makes devices of it but us.
        unsafe { (*class.as_ptr()).devnode = Some(Self::devnode) };

        // INVARIANT: Registered, and `as_raw()` is for `Registration` alone. On an error it is
        // dropped, and so unregistered.
        Ok(Arc::new(Self(class), GFP_KERNEL)?)
    }

    /// Returns the `struct class`. Only for devices that are the `dev` of a [`DeviceBase`].
    pub(super) fn as_raw(&self) -> *mut bindings::class {
        self.0.as_ptr()
    }

    /// Tells devtmpfs and udev the permissions of a node.
    ///
    /// # Safety
    ///
    /// `dev` must be a device of a [`Class`]. `mode` must be null or valid for writing.
    unsafe extern "C" fn devnode(
        dev: *const bindings::device,
        mode: *mut bindings::umode_t,
    ) -> *mut c_char {
        // Null when the node is being removed.
        if !mode.is_null() {
            // SAFETY: By the invariants of `Class` the device is that of a `DeviceBase`, which the
            // caller keeps, and `mode` can be written to.
            unsafe { *mode = (*DeviceBase::from_device(dev)).mode() };
        }

        // The node is called as the device is.
        core::ptr::null_mut()
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariants. Each device holds a reference, so there is
        // none.
        unsafe { bindings::class_destroy(self.0.as_ptr()) };
    }
}
