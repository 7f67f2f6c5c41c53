// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports of PCI Express with a slot that devices can be pulled out of. Somebody who wants a device out presses the slot's attention
//! button (a virtual machine does so for `device_del`); the manager then stops the drivers of what is behind the slot, and only then
//! does this one switch the slot's power off: a device that is in the middle of a transfer must not vanish (QEMU's AHCI controller goes
//! on with it in memory that is freed). Source: PCI Express Base Specification 5.0, sections 6.7 and 7.5.3; PCI-to-PCI Bridge
//! Architecture Specification 1.2, section 3.2.5.

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::sync::Arc;

use exo_platform::pci::{Config as _, Function, capability};

use crate::{
    Buses, Driver, DriverError, DriverType,
    block::DeviceName,
    bus::{DriverInfo, Found, Match, Names},
};

/// A bridge from PCI to PCI (PCI Code and ID Assignment 1.11, D.7).
const CLASS: Match = Match::PciClass { class: 0x06, subclass: 0x04, interface: None };

/// A bridge's register with the number of the bus behind it, and the one with the last of those that are reached through it.
const SECONDARY_BUS: u16 = 0x19;
const SUBORDINATE_BUS: u16 = 0x1a;

/// Registers of the PCI Express capability, from its beginning.
mod register {
    /// PCI Express Capabilities.
    pub(super) const CAPABILITIES: u16 = 0x02;
    /// Slot Capabilities, 32 bits.
    pub(super) const SLOT_CAPABILITIES: u16 = 0x14;
    /// Slot Control.
    pub(super) const SLOT_CONTROL: u16 = 0x18;
    /// Slot Status; write ones to clear.
    pub(super) const SLOT_STATUS: u16 = 0x1a;
}

/// CAPABILITIES: there is a slot.
const HAS_SLOT: u16 = 1 << 8;
/// SLOT_CAPABILITIES: an attention button, a power controller, and hot-plug at all.
const NEEDED: u32 = 1 | (1 << 1) | (1 << 6);
/// SLOT_CONTROL: the power indicator's two bits, of which both set are "off", and the power controller's, of which set is "off".
const POWER_INDICATOR_OFF: u16 = 3 << 8;
const POWER_OFF: u16 = 1 << 10;
/// SLOT_STATUS: the button was pressed.
const BUTTON_PRESSED: u16 = 1;

/// The driver for the bus.
pub static PCIE_PORT: DriverInfo = DriverInfo { name: "pcie-port", matches: &[CLASS], probe };

static NAMES: Names = Names::new("pcie-port");

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    let function = found.pci()?;
    let base = function.capability(capability::EXPRESS).ok_or(DriverError::Declined("not PCI Express"))?;
    if function.config().read16(base + register::CAPABILITIES) & HAS_SLOT == 0 {
        return Err(DriverError::Declined("a port without a slot"));
    }
    if function.config().read32(base + register::SLOT_CAPABILITIES) & NEEDED != NEEDED {
        return Err(DriverError::Declined("a slot whose device stays"));
    }
    let (name, function) = (NAMES.next(), function.clone());
    let (is_running, is_pressed) = (AtomicBool::new(false), AtomicBool::new(false));
    Ok(Arc::new(Port { name, function, base, is_running, is_pressed }))
}

/// A port with a slot.
struct Port {
    name: DeviceName,
    function: Function,
    /// Where the capability is in configuration space.
    base: u16,
    is_running: AtomicBool,
    /// The button was, and the manager does not know yet.
    is_pressed: AtomicBool,
}

impl Driver for Port {
    fn driver_type(&self) -> DriverType {
        DriverType::Bus
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn init(&self) -> Result<(), DriverError> {
        // What was pressed before anybody looked does not count.
        self.function.config().write16(self.base + register::SLOT_STATUS, BUTTON_PRESSED);
        self.is_running.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn shutdown(&self) -> Result<(), DriverError> {
        self.is_running.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.is_running.load(Ordering::Relaxed) && self.function.is_present()
    }

    fn tick(&self, _now_ns: u64) {
        let status = self.function.config().read16(self.base + register::SLOT_STATUS);
        // All ones is a port that was pulled out itself.
        if status == u16::MAX || status & BUTTON_PRESSED == 0 {
            return;
        }
        self.function.config().write16(self.base + register::SLOT_STATUS, BUTTON_PRESSED);
        self.is_pressed.store(true, Ordering::Relaxed);
    }

    fn wanted_out(&self) -> Option<Buses> {
        let config = self.function.config();
        self.is_pressed.swap(false, Ordering::Relaxed).then(|| Buses {
            segment: self.function.address().segment,
            numbers: config.read8(SECONDARY_BUS)..=config.read8(SUBORDINATE_BUS),
        })
    }

    fn release(&self) {
        let control = self.function.config().read16(self.base + register::SLOT_CONTROL);
        let off = control | POWER_INDICATOR_OFF | POWER_OFF;
        self.function.config().write16(self.base + register::SLOT_CONTROL, off);
    }
}

#[cfg(test)]
mod tests {
    use exo_platform::{
        fake::{FakeDevice, Wires},
        pci::{Address, Identity},
    };

    use super::*;

    /// A port whose slot can do what is said.
    struct FakePort {
        capabilities: u16,
        slot: u32,
    }

    impl FakeDevice for FakePort {
        fn bar_size(&self, _bar: u8) -> usize {
            0
        }
        fn read(&self, _bar: u8, _offset: usize, _size: u8) -> u64 {
            u64::MAX
        }
        fn write(&self, _bar: u8, _offset: usize, _size: u8, _value: u64) {}
        fn capabilities(&self) -> Vec<u8> {
            let mut bytes = vec![0; 0x3c];
            bytes[0] = capability::EXPRESS;
            bytes[2..4].copy_from_slice(&self.capabilities.to_le_bytes());
            bytes[0x14..0x18].copy_from_slice(&self.slot.to_le_bytes());
            bytes
        }
    }

    fn function(capabilities: u16, slot: u32) -> Function {
        let identity =
            Identity { vendor: 0x1b36, device: 0x0c, class: 6, subclass: 4, ..Identity::default() };
        Function::fake(Address::default(), identity, Arc::new(FakePort { capabilities, slot }), Wires::new())
    }

    const STATUS: u16 = 0x40 + register::SLOT_STATUS;
    const CONTROL: u16 = 0x40 + register::SLOT_CONTROL;

    #[test]
    fn the_power_goes_off_when_the_button_is_pressed_and_not_before() {
        let function = function(HAS_SLOT, NEEDED);
        let found = Found::Pci(function.clone());
        assert!(PCIE_PORT.matches.iter().any(|rule| found.fits(rule)));
        let port = (PCIE_PORT.probe)(&found).unwrap();
        port.init().unwrap();
        assert!(port.is_ready());
        // The fake's status register does not clear what ones are written to.
        function.config().write16(STATUS, 0);
        function.config().write16(CONTROL, 0x0100);
        port.tick(0);
        assert_eq!(function.config().read16(CONTROL), 0x0100);
        assert_eq!(port.wanted_out(), None);
        function.config().write8(SECONDARY_BUS, 3);
        function.config().write8(SUBORDINATE_BUS, 5);
        function.config().write16(STATUS, BUTTON_PRESSED);
        port.tick(1);
        assert_eq!(port.wanted_out(), Some(Buses { segment: 0, numbers: 3..=5 }));
        assert_eq!(port.wanted_out(), None, "once for each time");
        assert_eq!(function.config().read16(CONTROL), 0x0100, "what is behind it is not stopped yet");
        port.release();
        assert_eq!(function.config().read16(CONTROL), 0x0700);
    }

    #[test]
    fn ports_that_nothing_can_be_pulled_out_of_are_declined() {
        for (capabilities, slot) in [(0, NEEDED), (HAS_SLOT, 0), (HAS_SLOT, 1 << 6)] {
            let found = Found::Pci(function(capabilities, slot));
            assert!(matches!((PCIE_PORT.probe)(&found), Err(DriverError::Declined(_))));
        }
    }
}
