// SPDX-License-Identifier: MIT OR Apache-2.0
//! From devices to drivers: what drivers announce about themselves, and what they are offered.

mod access;
mod names;
mod wait;

use alloc::sync::Arc;

use exo_platform::{InterruptLine, Registers, pci};

use crate::{Driver, DriverError};

pub use access::Access;
pub use names::Names;
pub use wait::wait_until;

/// A driver as the bus knows it: what it matches and how to try it.
pub struct DriverInfo {
    /// The driver's name, such as `ahci`.
    pub name: &'static str,
    /// What it may drive; a device is offered to it if any of these fits.
    pub matches: &'static [Match],
    /// Looks at the device, and makes the driver for it. It may read configuration space and registers, but leaves the device as it
    /// was if it declines.
    ///
    /// # Errors
    /// [`DriverError::Declined`] and every other error alike: the device is offered to the next driver.
    pub probe: fn(&Found) -> Result<Arc<dyn Driver>, DriverError>,
}

/// What a driver may match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// A PCI function by maker and number.
    PciIdentity {
        /// The maker.
        vendor: u16,
        /// The maker's number.
        device: u16,
    },
    /// A PCI function by class.
    PciClass {
        /// Base class.
        class: u8,
        /// Subclass.
        subclass: u8,
        /// Programming interface, if it matters.
        interface: Option<u8>,
    },
    /// A device that ACPI or the machine's design names, such as `PNP0501` (a 16550 serial port).
    Name(&'static str),
}

/// A device that was found and wants a driver.
#[derive(Clone, Debug)]
pub enum Found {
    /// A PCI function.
    Pci(pci::Function),
    /// A device at fixed places.
    Fixed {
        /// Its ACPI name.
        name: &'static str,
        /// Which of several it is, from 0.
        index: usize,
        /// Its registers.
        registers: Registers,
        /// Its interrupt line, if it has one.
        line: Option<InterruptLine>,
    },
}

impl Found {
    /// The PCI function.
    ///
    /// # Errors
    /// [`DriverError::Declined`] if it is none.
    pub fn pci(&self) -> Result<&pci::Function, DriverError> {
        match self {
            Self::Pci(function) => Ok(function),
            Self::Fixed { .. } => Err(DriverError::Declined("not a PCI function")),
        }
    }

    /// Whether this is the same device as `other`.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pci(a), Self::Pci(b)) => a.address() == b.address(),
            (Self::Fixed { name: a, index: i, .. }, Self::Fixed { name: b, index: j, .. }) => {
                (a, i) == (b, j)
            }
            _ => false,
        }
    }

    /// Whether the device still answers. One at a fixed place cannot be pulled out.
    pub fn is_present(&self) -> bool {
        match self {
            Self::Pci(function) => function.is_present(),
            Self::Fixed { .. } => true,
        }
    }

    /// Whether `rule` fits this device.
    pub fn fits(&self, rule: &Match) -> bool {
        match (self, *rule) {
            (Self::Pci(function), Match::PciIdentity { vendor, device }) => {
                let identity = function.identity();
                (identity.vendor, identity.device) == (vendor, device)
            }
            (Self::Pci(function), Match::PciClass { class, subclass, interface }) => {
                let identity = function.identity();
                (identity.class, identity.subclass) == (class, subclass)
                    && interface.is_none_or(|i| i == identity.interface)
            }
            (Self::Fixed { name, .. }, Match::Name(wanted)) => *name == wanted,
            _ => false,
        }
    }
}
