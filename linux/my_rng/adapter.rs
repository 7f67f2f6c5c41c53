// SPDX-License-Identifier: GPL-2.0

//! Callbacks of a PCI driver that `kernel::pci::Adapter` has not: shutdown, power management and
//! error recovery.

use crate::{
    hwrng::Hwrng,
    pci_driver::Driver,
    registry::{
        self,
        Found, //
    },
};
use core::mem::offset_of;
use kernel::{
    bindings,
    container_of,
    driver::{
        DriverLayout,
        RegistrationOps, //
    },
    pci,
    prelude::*,
    types::Opaque, //
};

/// As [`pci::Adapter`] for [`Driver`], with the callbacks below.
pub(crate) struct Adapter;

// SAFETY: As `pci::Adapter`, of which this is a thin wrapper: same structure, same data.
unsafe impl DriverLayout for Adapter {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = <Driver as pci::Driver>::Data<'bound>;

    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::pci_driver, driver);
}

// SAFETY: `pci::Adapter` registers and unregisters.
unsafe impl RegistrationOps for Adapter {
    unsafe fn register(
        driver: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: Fields of a driver may be set before it is registered.
        unsafe {
            (*driver.get()).shutdown = Some(shutdown);
            (*driver.get()).err_handler = &raw const ERROR_HANDLERS.0;
            (*driver.get()).driver.pm = &raw const POWER.0;
        }
        // SAFETY: As the caller promises.
        unsafe { <pci::Adapter<Driver> as RegistrationOps>::register(driver, name, module) }
    }

    unsafe fn unregister(driver: &Opaque<Self::DriverType>) {
        // SAFETY: As the caller promises.
        unsafe { <pci::Adapter<Driver> as RegistrationOps>::unregister(driver) }
    }
}

/// A table that nobody writes to.
struct Constant<T>(T);

// SAFETY: Nobody ever writes to it.
unsafe impl<T> Sync for Constant<T> {}

/// Called before the machine reboots, or another kernel takes over (kexec): the device must not
/// write into what that one keeps there.
///
/// # Safety
///
/// `pdev` must be a device that is bound to this driver.
unsafe extern "C" fn shutdown(pdev: *mut bindings::pci_dev) {
    if let Some(found) = registry::find(pdev) {
        // A device that has gone needs no stopping.
        let _ = found.device.access(|device| {
            device.shutdown();
            Ok(())
        });
    }
}

/// Suspend to memory, and hibernation: before the image is made, after that, before the machine is
/// switched off, and when the image has been restored.
static POWER: Constant<bindings::dev_pm_ops> = Constant(bindings::dev_pm_ops {
    suspend: Some(suspend),
    resume: Some(resume),
    freeze: Some(suspend),
    thaw: Some(resume),
    poweroff: Some(suspend),
    restore: Some(resume),
    ..pin_init::zeroed()
});

/// Finds what is bound to a device.
///
/// # Safety
///
/// `dev` must be that of a PCI device.
unsafe fn find(dev: *mut bindings::device) -> Option<Found> {
    // SAFETY: Inside of a `struct pci_dev` by the requirements of this function.
    registry::find(unsafe { container_of!(dev, bindings::pci_dev, dev) })
}

/// # Safety
///
/// `dev` must be that of a PCI device.
unsafe extern "C" fn suspend(dev: *mut bindings::device) -> c_int {
    // SAFETY: By the requirements of this function.
    let Some(Found { device, hwrng }) = (unsafe { find(dev) }) else {
        return 0;
    };
    // The kernel's thread that reads it is not frozen.
    hwrng.as_deref().map(Hwrng::unregister);

    match device.access(|device| device.suspend()) {
        Ok(()) => 0,
        Err(error) => {
            register(hwrng.as_deref());
            error.to_errno()
        }
    }
}

/// # Safety
///
/// `dev` must be that of a PCI device.
unsafe extern "C" fn resume(dev: *mut bindings::device) -> c_int {
    // SAFETY: By the requirements of this function.
    let Some(Found { device, hwrng }) = (unsafe { find(dev) }) else {
        return 0;
    };
    match device.access(|device| device.resume()) {
        Ok(()) => {
            register(hwrng.as_deref());
            0
        }
        Err(error) => error.to_errno(),
    }
}

fn register(hwrng: Option<&Hwrng>) {
    if let Some(Err(error)) = hwrng.map(Hwrng::register) {
        pr_warn!("cannot register with the kernel's random number generator again: {error:?}\n");
    }
}

/// Recovery from errors on the bus (AER).
static ERROR_HANDLERS: Constant<bindings::pci_error_handlers> =
    Constant(bindings::pci_error_handlers {
        error_detected: Some(error_detected),
        slot_reset: Some(slot_reset),
        ..pin_init::zeroed()
    });

/// # Safety
///
/// `pdev` must be a device that is bound to this driver.
unsafe extern "C" fn error_detected(
    pdev: *mut bindings::pci_dev,
    state: bindings::pci_channel_state_t,
) -> bindings::pci_ers_result_t {
    if state == bindings::pci_channel_io_normal {
        return bindings::pci_ers_result_PCI_ERS_RESULT_CAN_RECOVER;
    }
    if let Some(found) = registry::find(pdev) {
        // Programs get ENODEV until it is back.
        let _ = found.device.access(|device| {
            device.disconnect();
            Ok(())
        });
    }
    if state == bindings::pci_channel_io_perm_failure {
        bindings::pci_ers_result_PCI_ERS_RESULT_DISCONNECT
    } else {
        bindings::pci_ers_result_PCI_ERS_RESULT_NEED_RESET
    }
}

/// # Safety
///
/// `pdev` must be a device that is bound to this driver.
unsafe extern "C" fn slot_reset(pdev: *mut bindings::pci_dev) -> bindings::pci_ers_result_t {
    // SAFETY: Bound, and its configuration was saved when it was.
    unsafe {
        bindings::pci_restore_state(pdev);
        bindings::pci_set_master(pdev);
    }
    let reconnected = registry::find(pdev).map_or(Err(ENODEV), |found| {
        found.device.access(|device| device.reconnect())
    });
    match reconnected {
        Ok(()) => bindings::pci_ers_result_PCI_ERS_RESULT_RECOVERED,
        Err(_) => bindings::pci_ers_result_PCI_ERS_RESULT_DISCONNECT,
    }
}
