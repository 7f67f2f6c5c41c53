// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drivers, as programs see them: their files in /dev and /sys, and how their calls wait.

mod my_rng;
pub mod procmon;

use exo_drivers::{DRIVERS, Device, bus::Found};
use exo_hal::{dev::pci, log};

/// Starts the drivers, when all CPUs run and before any program does.
pub fn start() {
    procmon::start();
    for function in pci::scan() {
        let found = Found::Pci(function);
        for info in DRIVERS.iter().filter(|info| info.matches.iter().any(|rule| found.fits(rule))) {
            match (info.probe)(&found).and_then(|driver| driver.init().map(|()| driver)) {
                Ok(driver) => {
                    driver.devices().into_iter().for_each(offer);
                    break;
                }
                Err(error) => log!("{}: {error}", info.name),
            }
        }
    }
}

/// Gives a device its place in /dev.
fn offer(device: Device) {
    let result = match device {
        Device::Random(device) => my_rng::add(device),
        Device::Block(_) => Ok(()),
    };
    if let Err(error) = result {
        log!("a device gets no node: error {}", error.0);
    }
}
