// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio-blk: disks of virtual machines.
//! Source: VIRTIO 1.2, 5.2.
//!
//! - `format`: what the specification lays out, as pure code;
//! - `queue`: requests in one virtqueue, of which each CPU has its own if the device has enough;
//! - `device`: start, recovery, removal.
//!
//! A request that is overdue costs the device a reset: what was overdue ends with
//! [`Cause::TimedOut`](crate::block::Cause::TimedOut), everything else is given to it again.

mod device;
#[cfg(test)]
mod fake;
mod format;
mod queue;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;

use crate::{
    Driver, DriverError,
    block::ControllerDriver,
    bus::{DriverInfo, Found, Match, Names},
    virtio::{MODERN, Transport, VENDOR},
};
use device::Disk;

/// The type of block devices (VIRTIO 1.2, 5).
const BLOCK: u16 = 2;
/// The number of a block device that also knows the old interface.
const TRANSITIONAL: u16 = 0x1001;

/// The driver for the bus.
pub static VIRTIO_BLK: DriverInfo = DriverInfo {
    name: "virtio-blk",
    matches: &[
        Match::PciIdentity { vendor: VENDOR, device: MODERN + BLOCK },
        Match::PciIdentity { vendor: VENDOR, device: TRANSITIONAL },
    ],
    probe,
};

static NAMES: Names = Names::new("vblk");

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    let transport = Transport::new(found.pci()?)?;
    Ok(ControllerDriver::<Disk>::new(NAMES.next(), Arc::new(transport)))
}
