// SPDX-License-Identifier: GPL-2.0

//! A PCI device that answers to memory accesses, and makes its own, for as long as it is bound.
//!
//! The kernel's Rust abstraction can enable a device, but nothing there ever disables one.

use core::ptr;
use kernel::{
    bindings,
    device::{
        Bound,
        Core, //
    },
    pci,
    prelude::*, //
};

/// Keeps a PCI device enabled. Dropping it disables the device, if nobody else enabled it.
///
/// # Invariants
///
/// `pci_enable_device_mem()` has succeeded for the device, and was not undone yet.
pub(crate) struct PciEnableGuard<'bound>(&'bound pci::Device<Bound>);

impl<'bound> PciEnableGuard<'bound> {
    /// Enables the device's memory regions, and lets it access memory and send interrupts.
    ///
    /// # Errors
    ///
    /// Those of `pci_enable_device_mem()`.
    pub(crate) fn new(pdev: &'bound pci::Device<Core<'_>>) -> Result<Self> {
        pdev.enable_device_mem()?;
        // INVARIANT: Enabled above.
        let enabled = Self(pdev);
        pdev.set_master();
        Ok(enabled)
    }

    /// Saves the configuration space, to be restored after a reset of the slot.
    pub(crate) fn save_state(&self) {
        // SAFETY: Bound, so it is there. Never fails, the return value is historical.
        unsafe { bindings::pci_save_state(self.as_raw()) };
    }

    fn as_raw(&self) -> *mut bindings::pci_dev {
        // `pci::Device` is a transparent wrapper of `struct pci_dev`.
        ptr::from_ref(self.0).cast_mut().cast()
    }
}

impl Drop for PciEnableGuard<'_> {
    fn drop(&mut self) {
        let pdev = self.as_raw();

        // SAFETY: Bound, so it is there, and enabled by the type invariants.
        unsafe {
            bindings::pci_clear_master(pdev);
            bindings::pci_disable_device(pdev);
        }
    }
}
