// SPDX-License-Identifier: MIT OR Apache-2.0
//! AHCI: Serial ATA disks behind a host bus adapter, with native command queueing.
//!
//! - `registers`, `command`, `identify`: what the specifications lay out, as pure code;
//! - `memory`: what a port's adapter reads and writes; `port`: requests at a port; `recovery`: errors, time-outs, removal;
//! - `adapter`: start and stop of the whole.
//!
//! A disk that takes queued commands is given up to 32 of them at a time; one that does not gets one command after the other. Drives
//! that are no disks (ATAPI) are left alone.

mod adapter;
mod command;
#[cfg(test)]
mod fake;
mod identify;
mod memory;
mod port;
mod recovery;
mod registers;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use exo_platform::{SpinLock, pci};

use crate::{
    Device, Driver, DriverError, DriverType,
    block::{Requests as _, device_name},
    bus::{DriverInfo, Found, Match},
};
use adapter::Adapter;

/// Mass storage, Serial ATA, AHCI (PCI Code and ID Assignment 1.11, D.1).
const CLASS: Match = Match::PciClass { class: 0x01, subclass: 0x06, interface: Some(0x01) };

/// The driver for the bus.
pub static AHCI: DriverInfo = DriverInfo { name: "ahci", matches: &[CLASS], probe };

/// Adapters found so far, for their names.
static FOUND: AtomicU32 = AtomicU32::new(0);

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    let function = found.pci()?;
    let name = device_name(format_args!("ahci{}", FOUND.fetch_add(1, Ordering::Relaxed)));
    Ok(Arc::new(Ahci { name: name.to_string(), function: function.clone(), adapter: SpinLock::new(None) }))
}

/// The driver of one adapter.
struct Ahci {
    name: String,
    function: pci::Function,
    adapter: SpinLock<Option<Arc<Adapter>>>,
}

impl Ahci {
    fn adapter(&self) -> Option<Arc<Adapter>> {
        self.adapter.lock().clone()
    }
}

impl Driver for Ahci {
    fn driver_type(&self) -> DriverType {
        DriverType::Block
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn init(&self) -> Result<(), DriverError> {
        let name = device_name(format_args!("{}", self.name));
        *self.adapter.lock() = Some(Arc::new(Adapter::start(name, &self.function)?));
        Ok(())
    }

    fn shutdown(&self) -> Result<(), DriverError> {
        let adapter = self.adapter.lock().take();
        adapter.map_or(Ok(()), |adapter| adapter.shut_down())
    }

    fn is_ready(&self) -> bool {
        self.adapter().is_some_and(|adapter| adapter.is_present())
    }

    fn devices(&self) -> Vec<Device> {
        let adapter = self.adapter();
        let ports = adapter.iter().flat_map(|adapter| adapter.ports());
        ports.filter(|port| port.is_present()).map(|port| Device::Block(port.clone())).collect()
    }

    fn removed(&self) {
        if let Some(adapter) = self.adapter() {
            adapter.remove();
        }
    }
}
