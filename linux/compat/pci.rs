// SPDX-License-Identifier: GPL-2.0

//! PCI drivers, whose identification may be unknown, and interrupt vectors that are given back.

pub use kernel::pci::*;

use core::{marker::PhantomData, mem::transmute, num::NonZero, ptr};
use kernel::{
    bindings,
    device::{Bound, Core},
    error::to_result,
    pci,
    prelude::*,
};

use crate::irq::IrqRequest;

pub trait Driver {
    type IdInfo: 'static;
    type Data<'bound>: Send + 'bound;

    const ID_TABLE: IdTable<Self::IdInfo>;

    fn probe<'bound>(
        pdev: &'bound Device<Core<'_>>,
        info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    fn unbind<'bound>(pdev: &'bound Device<Core<'_>>, data: Pin<&Self::Data<'bound>>) {
        let _ = (pdev, data);
    }
}

/// A driver as 7.2 wants it.
pub struct Before<T>(PhantomData<T>);

impl<T: Driver> pci::Driver for Before<T> {
    type IdInfo = T::IdInfo;
    type Data<'bound> = T::Data<'bound>;

    const ID_TABLE: IdTable<Self::IdInfo> = T::ID_TABLE;

    fn probe<'bound>(
        pdev: &'bound Device<Core<'_>>,
        info: &'bound Self::IdInfo,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        T::probe(pdev, Some(info))
    }

    fn unbind<'bound>(pdev: &'bound Device<Core<'_>>, data: Pin<&Self::Data<'bound>>) {
        T::unbind(pdev, data)
    }
}

pub type Adapter<T> = pci::Adapter<Before<T>>;

/// # Invariants
///
/// `device` has that many vectors.
pub struct IrqVectorRegistration<'a> {
    device: &'a Device<Bound>,
    count: NonZero<usize>,
}

impl<'a> IrqVectorRegistration<'a> {
    /// What `Device::alloc_irq_vectors` is in 7.3.
    pub fn new(device: &'a Device<Bound>, least: u32, most: u32, types: IrqTypes) -> Result<Self> {
        // SAFETY: `IrqTypes` is one such number.
        let flags = unsafe { transmute::<IrqTypes, u32>(types) };
        // SAFETY: The device is there, and the rest is checked.
        let count = unsafe { bindings::pci_alloc_irq_vectors(as_raw(device), least, most, flags) };
        to_result(count)?;
        // INVARIANT: As C says. CAST: Positive.
        Ok(Self {
            device,
            count: NonZero::new(count as usize).ok_or(EINVAL)?,
        })
    }

    #[allow(clippy::len_without_is_empty, reason = "as in 7.3")]
    pub fn len(&self) -> usize {
        self.count.get()
    }

    pub fn index(&self, index: usize) -> Result<IrqRequest<'_>> {
        // SAFETY: The device is there, and the rest is checked.
        let irq = unsafe { bindings::pci_irq_vector(as_raw(self.device), u32::try_from(index)?) };
        to_result(irq)?;
        // CAST: Positive.
        Ok(IrqRequest::new(irq as u32))
    }
}

impl Drop for IrqVectorRegistration<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; handlers borrow from it, so none is left.
        unsafe { bindings::pci_free_irq_vectors(as_raw(self.device)) };
    }
}

/// A `pci::Device` is a transparent wrapper of it.
fn as_raw(device: &Device<Bound>) -> *mut bindings::pci_dev {
    ptr::from_ref(device).cast_mut().cast()
}

#[macro_export]
macro_rules! pci_device_table {
    ($table:ident, $info:ty, $ids:expr) => {
        $crate::linux::pci_device_table!($table, MODULE_DEVICE_TABLE, $info, $ids);
    };
}

#[macro_export]
macro_rules! module_pci_driver {
    ($($module:tt)*) => {
        $crate::linux::module_driver!(<T>, $crate::pci::Adapter<T>, { $($module)* });
    };
}
