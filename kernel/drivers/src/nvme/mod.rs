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

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use exo_platform::{SpinLock, pci};

use crate::{
    Device, Driver, DriverError, DriverType,
    block::device_name,
    bus::{DriverInfo, Found, Match},
};
use controller::Controller;
use namespace::Namespace;

/// Mass storage, non-volatile memory, NVM Express (PCI Code and ID Assignment 1.11, D.1).
const CLASS: Match = Match::PciClass { class: 0x01, subclass: 0x08, interface: Some(0x02) };

/// The driver for the bus.
pub static NVME: DriverInfo = DriverInfo { name: "nvme", matches: &[CLASS], probe };

/// Controllers found so far, for their names.
static FOUND: AtomicU32 = AtomicU32::new(0);

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    let function = found.pci()?;
    let name = device_name(format_args!("nvme{}", FOUND.fetch_add(1, Ordering::Relaxed)));
    Ok(Arc::new(Nvme { name: name.to_string(), function: function.clone(), running: SpinLock::new(None) }))
}

struct Running {
    controller: Arc<Controller>,
    namespaces: Vec<Arc<Namespace>>,
}

/// The driver of one controller.
struct Nvme {
    name: String,
    function: pci::Function,
    running: SpinLock<Option<Running>>,
}

impl Driver for Nvme {
    fn driver_type(&self) -> DriverType {
        DriverType::Block
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn init(&self) -> Result<(), DriverError> {
        let name = device_name(format_args!("{}", self.name));
        let (controller, found) = Controller::start(name, &self.function)?;
        let namespaces = found
            .into_iter()
            .map(|(number, info)| Arc::new(Namespace::new(&controller, number, info)))
            .collect();
        *self.running.lock() = Some(Running { controller, namespaces });
        Ok(())
    }

    fn shutdown(&self) -> Result<(), DriverError> {
        let running = self.running.lock().take();
        running.map_or(Ok(()), |running| running.controller.shut_down())
    }

    fn is_ready(&self) -> bool {
        self.running.lock().as_ref().is_some_and(|running| running.controller.is_present())
    }

    fn devices(&self) -> Vec<Device> {
        let running = self.running.lock();
        let present = running.iter().filter(|running| running.controller.is_present());
        let namespaces = present.flat_map(|running| &running.namespaces);
        namespaces.map(|namespace| Device::Block(namespace.clone())).collect()
    }

    fn removed(&self) {
        let controller = self.running.lock().as_ref().map(|running| running.controller.clone());
        if let Some(controller) = controller {
            controller.remove();
        }
    }
}
