// SPDX-License-Identifier: MIT OR Apache-2.0
//! NVMe: disks behind PCI Express that take commands through queues in memory, a pair for each CPU.
//!
//! - `registers`, `command`, `identify`, `prp`: what the specification lays out, as pure code;
//! - `rings`: the memory of a queue pair, `shadow`: its doorbells in memory; `queue`: requests in it; `admin`: the queue for the controller itself;
//! - `controller`: start, recovery, removal, shutdown; `namespace`: the disks.
//!
//! A command that is overdue is aborted; if that does not help, the controller is reset, what was overdue ends with
//! [`Cause::TimedOut`](crate::block::Cause::TimedOut), and all else is given to the controller again.

mod admin;
mod command;
mod controller;
#[cfg(test)]
mod fake;
mod identify;
mod namespace;
mod prp;
mod queue;
mod registers;
mod rings;
mod shadow;
#[cfg(test)]
mod tests;

use alloc::{sync::Arc, vec::Vec};

use exo_platform::pci;

use crate::{
    Driver, DriverError,
    block::{self, ControllerDriver, DeviceName, Requests},
    bus::{DriverInfo, Found, Match, Names},
};
use controller::Controller;
use namespace::Namespace;

/// Mass storage, non-volatile memory, NVM Express (PCI Code and ID Assignment 1.11, D.1).
const CLASS: Match = Match::PciClass { class: 0x01, subclass: 0x08, interface: Some(0x02) };

/// The driver for the bus.
pub static NVME: DriverInfo = DriverInfo { name: "nvme", matches: &[CLASS], probe };

static NAMES: Names = Names::new("nvme");

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    let function = found.pci()?;
    Ok(ControllerDriver::<Running>::new(NAMES.next(), function.clone()))
}

/// A controller that was started, and its disks.
struct Running {
    controller: Arc<Controller>,
    namespaces: Vec<Arc<Namespace>>,
}

impl block::Controller for Running {
    type Handle = pci::Function;

    fn start(name: DeviceName, function: &pci::Function) -> Result<Arc<Self>, DriverError> {
        let (controller, found) = Controller::start(name, function)?;
        let namespaces = found
            .into_iter()
            .map(|(number, info)| Arc::new(Namespace::new(&controller, number, info)))
            .collect();
        Ok(Arc::new(Self { controller, namespaces }))
    }

    fn disks(self: &Arc<Self>) -> Vec<Arc<dyn Requests>> {
        self.namespaces.iter().map(|namespace| namespace.clone() as Arc<dyn Requests>).collect()
    }

    fn is_present(&self) -> bool {
        self.controller.is_present()
    }

    fn remove(&self) {
        self.controller.remove();
    }

    fn shut_down(&self) -> Result<(), DriverError> {
        self.controller.shut_down()
    }
}
