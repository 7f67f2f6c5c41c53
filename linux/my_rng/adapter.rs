// SPDX-License-Identifier: GPL-2.0

//! What a PCI driver can say to the kernel, and `kernel::pci::Adapter` does not: what to do when the
//! machine is shut down or goes to sleep.

use crate::registry;
use core::mem::offset_of;
use kernel::{
    bindings,
    driver::{
        DriverLayout,
        RegistrationOps, //
    },
    pci,
    prelude::*,
    types::Opaque, //
};

/// As [`pci::Adapter`], with the callbacks below.
pub(crate) struct Adapter<T: pci::Driver>(T);

// SAFETY: As `pci::Adapter`, of which this is a thin wrapper: same structure, same data.
unsafe impl<T: pci::Driver> DriverLayout for Adapter<T> {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = T::Data<'bound>;

    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::pci_driver, driver);
}

// SAFETY: `pci::Adapter` registers and unregisters.
unsafe impl<T: pci::Driver> RegistrationOps for Adapter<T> {
    unsafe fn register(
        driver: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: Fields of a driver may be set before it is registered.
        unsafe {
            (*driver.get()).shutdown = Some(shutdown);
            (*driver.get()).driver.pm = &raw const POWER.0;
        }
        // SAFETY: As the caller promises.
        unsafe { <pci::Adapter<T> as RegistrationOps>::register(driver, name, module) }
    }

    unsafe fn unregister(driver: &Opaque<Self::DriverType>) {
        // SAFETY: As the caller promises.
        unsafe { <pci::Adapter<T> as RegistrationOps>::unregister(driver) }
    }
}

/// Called before the machine reboots, or another kernel takes over (kexec): the device must not
/// write into what that one keeps there.
///
/// # Safety
///
/// `pdev` must be a device that is bound to this driver.
unsafe extern "C" fn shutdown(pdev: *mut bindings::pci_dev) {
    registry::shutdown(pdev);
}

struct Power(bindings::dev_pm_ops);

// SAFETY: Nobody ever writes to it.
unsafe impl Sync for Power {}

/// Suspending would lose what the device has been told, and the device has no way to keep it: so it
/// is refused, and the machine stays awake.
static POWER: Power = Power(bindings::dev_pm_ops {
    suspend: Some(refuse_to_sleep),
    freeze: Some(refuse_to_sleep),
    poweroff: Some(refuse_to_sleep),
    ..pin_init::zeroed()
});

/// # Safety
///
/// None; the kernel's type wants it.
unsafe extern "C" fn refuse_to_sleep(_dev: *mut bindings::device) -> c_int {
    EOPNOTSUPP.to_errno()
}
