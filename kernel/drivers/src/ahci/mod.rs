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

use alloc::sync::Arc;

use crate::{
    Driver, DriverError,
    block::ControllerDriver,
    bus::{DriverInfo, Found, Match, Names},
};
use adapter::Adapter;

/// Mass storage, Serial ATA, AHCI (PCI Code and ID Assignment 1.11, D.1).
const CLASS: Match = Match::PciClass { class: 0x01, subclass: 0x06, interface: Some(0x01) };

/// The driver for the bus.
pub static AHCI: DriverInfo = DriverInfo { name: "ahci", matches: &[CLASS], probe };

static NAMES: Names = Names::new("ahci");

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    let function = found.pci()?;
    Ok(ControllerDriver::<Adapter>::new(NAMES.next(), function.clone()))
}
