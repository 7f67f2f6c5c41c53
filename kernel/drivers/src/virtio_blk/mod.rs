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

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec,
    vec::Vec,
};

use exo_platform::SpinLock;

use crate::{
    Device, Driver, DriverError, DriverType,
    block::{Requests, device_name},
    bus::{DriverInfo, Found, Match},
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

/// Devices found so far, for their names.
static FOUND: AtomicU32 = AtomicU32::new(0);

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    let transport = Transport::new(found.pci()?)?;
    let name = device_name(format_args!("vblk{}", FOUND.fetch_add(1, Ordering::Relaxed)));
    Ok(Arc::new(VirtioBlk {
        name: name.to_string(),
        transport: Arc::new(transport),
        disk: SpinLock::new(None),
    }))
}

/// The driver of one disk.
struct VirtioBlk {
    name: String,
    transport: Arc<Transport>,
    disk: SpinLock<Option<Arc<Disk>>>,
}

impl VirtioBlk {
    fn disk(&self) -> Option<Arc<Disk>> {
        self.disk.lock().clone()
    }
}

impl Driver for VirtioBlk {
    fn driver_type(&self) -> DriverType {
        DriverType::Block
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn init(&self) -> Result<(), DriverError> {
        let name = device_name(format_args!("{}", self.name));
        let disk = Disk::start(name, &self.transport).inspect_err(|_| {
            self.transport.fail();
            self.transport.function().disable();
        })?;
        *self.disk.lock() = Some(disk);
        Ok(())
    }

    fn shutdown(&self) -> Result<(), DriverError> {
        let disk = self.disk.lock().take();
        disk.map_or(Ok(()), |disk| disk.shut_down())
    }

    fn is_ready(&self) -> bool {
        self.disk().is_some_and(|disk| disk.is_present())
    }

    fn devices(&self) -> Vec<Device> {
        self.disk().map_or(Vec::new(), |disk| vec![Device::Block(disk)])
    }

    fn removed(&self) {
        if let Some(disk) = self.disk() {
            disk.remove();
        }
    }
}
