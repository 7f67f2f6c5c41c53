// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device is to its guest, and how it interrupts.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use vfio_user_server::IrqIndex;

/// Queues of a device: enough for one a processor on most virtual machines, beside those of programs that map one.
pub const QUEUES: usize = 32;
/// MSI-X vectors of a device: one for each queue, and one for one-shot transfers.
pub const VECTORS: u16 = QUEUES as u16 + 1;
/// MSI vectors of a device: the most that there are.
const MSI_VECTORS: u16 = 32;

/// How a device with queues interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum InterruptKind {
    /// MSI-X, 33 vectors
    #[default]
    Msix,
    /// MSI, 32 vectors, for machines that unplug the device
    Msi,
    /// The pin alone, for machines that unplug a virtio device
    Intx,
}

impl InterruptKind {
    /// How many vectors the native personality has.
    pub fn vectors(self) -> u16 {
        match self {
            Self::Msix => VECTORS,
            Self::Msi => MSI_VECTORS,
            Self::Intx => 0,
        }
    }

    /// What VFIO calls it.
    pub fn index(self) -> IrqIndex {
        match self {
            Self::Msix => IrqIndex::Msix,
            Self::Msi => IrqIndex::Msi,
            Self::Intx => IrqIndex::Intx,
        }
    }
}

/// What a device is to its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Personality {
    /// 1234:cafe, with registers, queues and streams of its own
    #[default]
    Native,
    /// 1af4:1044, a virtio entropy device, for guests without a driver for the other one
    Virtio,
}
