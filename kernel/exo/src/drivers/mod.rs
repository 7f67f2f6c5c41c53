// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drivers, as programs see them: their files in /dev and /sys, and how their calls wait.

mod hwrng;
mod my_rng;
pub mod procmon;

use alloc::{boxed::Box, sync::Arc};

use exo_drivers::{
    DRIVERS, Device, DriverError,
    block::GenericBlockDevice,
    bus::Found,
    manager::{DriverId, Observer, manager},
};
use exo_hal::{
    cpu::percpu::cpu_count,
    dev::{pci, serial},
    log, time,
};
use exo_logic::boot_options::Options;
use exo_platform::InterruptLine;
use exo_process::task::kernel_thread;

use exo_fs::{kernel_log, tty};
use exo_net::interfaces as network;

use crate::{
    disk,
    sched::timer::{self, Action},
};

/// How often drivers are asked whether something has changed.
const TICK_NS: u64 = 250_000_000;
/// Bytes of a sector of the RAM disk, as on Linux's.
const RAM_SECTOR: u32 = 512;

/// Starts the drivers, when all CPUs run and before any program does.
pub fn start() {
    procmon::start();
    network::start();
    if let Err(error) = kernel_thread::start(b"network", None, u64::MAX, Box::new(exo_net::inet::run)) {
        log!("no thread for the network: {error:?}");
    }
    manager().observe(Arc::new(Nodes));
    let ports = (0..).zip(serial::PORTS.iter().zip(serial::LINES));
    let ports = ports.filter(|(_, (port, _))| port.is_present()).map(|(index, (port, line))| Found::Fixed {
        name: "PNP0501",
        index,
        registers: port.registers(),
        line: Some(InterruptLine(line)),
    });
    for found in ports.chain(pci::scan().into_iter().map(Found::Pci)) {
        match manager().probe(&found, DRIVERS) {
            Ok(_) | Err(DriverError::NotFound) => {}
            Err(error) => log::line_at(log::ERROR, format_args!("driver: none for {found:?}: {error}")),
        }
    }
    manager().start_all();
    if let Some(size) = Options::parse(exo_hal::boot::info().command_line).ram_disk {
        add_ram_disk(size);
    }
    timer::add(time::now_ns() + TICK_NS, Action::Call(tick));
}

/// Makes the RAM disk, of `size` MiB.
fn add_ram_disk(size: u32) {
    let sectors = u64::from(size) << 20 >> RAM_SECTOR.trailing_zeros();
    match GenericBlockDevice::new("ram0", sectors, RAM_SECTOR, cpu_count()) {
        Ok(device) => Nodes.offer(&Device::Block(Arc::new(device))),
        Err(_) => log!("there is no memory for a RAM disk of {size} MiB"),
    }
}

/// Stops the drivers: the machine is about to be switched off.
pub fn stop() {
    manager().stop_all();
}

fn tick() {
    let now = time::now_ns();
    manager().tick(now);
    kernel_log::tick();
    timer::add(now + TICK_NS, Action::Call(tick));
}

/// Gives devices their places in /dev.
struct Nodes;

impl Nodes {
    fn offer(&self, device: &Device) {
        let result = match device {
            Device::Random(device) if hwrng::is_for(device) => hwrng::add(device.clone()),
            Device::Random(device) => my_rng::add(device.clone()),
            Device::Network(device) => network::add(device.clone()),
            Device::Character(device) => tty::add(device),
            Device::Block(device) => disk::add(device),
        };
        if let Err(error) = result {
            log!("{} gets no node: error {}", device.name(), error.0);
        }
    }
}

impl Observer for Nodes {
    fn added(&self, _driver: DriverId, device: &Device) {
        self.offer(device);
    }

    fn removed(&self, _driver: DriverId, device: &Device) {
        match device {
            Device::Random(device) if hwrng::is_for(device) => hwrng::remove(device.name()),
            Device::Random(device) => my_rng::remove(device.name()),
            Device::Network(device) => network::remove(device),
            Device::Character(device) => tty::remove(device),
            Device::Block(device) => disk::remove(device),
        }
    }

    fn note(&self, name: &str, error: &DriverError) {
        match error {
            DriverError::Removed => log!("{name}: {error}"),
            // `cargo exo` looks for this word, and shows the line.
            _ => log::line_at(log::ERROR, format_args!("driver: {name} does not work: {error}")),
        }
    }
}
