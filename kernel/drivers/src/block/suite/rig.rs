// SPDX-License-Identifier: MIT OR Apache-2.0
//! A block driver that was set up with a fake of its controller.

use std::sync::Arc;

use exo_platform::{
    fake::{FakeDevice, Wires},
    pci::{Address, Function, Identity},
};

use super::Misdeed;
use crate::{
    Device, Driver,
    block::Requests,
    bus::{DriverInfo, Found},
};

/// A controller that tests made up.
pub(crate) trait FakeController: FakeDevice + 'static {
    /// Its interrupts.
    fn wires(&self) -> &Wires;
    /// Makes it wait (true) before it carries commands out, or go on with those that came meanwhile.
    fn pause(&self, is_paused: bool);
    /// Makes it misbehave.
    fn misbehave(&self, misdeed: Misdeed);
}

/// A driver and its fake controller.
pub(crate) struct Rig<F> {
    pub(crate) fake: Arc<F>,
    pub(crate) driver: Arc<dyn Driver>,
}

impl<F: FakeController> Rig<F> {
    /// The driver that `info` makes for `fake`, which says that it is `identity`; not started yet.
    pub(crate) fn new(info: &DriverInfo, identity: Identity, fake: Arc<F>) -> Self {
        let function = Function::fake(Address::default(), identity, fake.clone(), fake.wires().clone());
        let found = Found::Pci(function);
        assert!(info.matches.iter().any(|rule| found.fits(rule)));
        let driver = (info.probe)(&found).unwrap();
        Self { fake, driver }
    }

    /// The same, started.
    pub(crate) fn started(self) -> Self {
        self.driver.init().unwrap();
        self
    }

    /// The disks that the driver offers.
    pub(crate) fn disks(&self) -> Vec<Arc<dyn Requests>> {
        self.driver.devices().into_iter().filter_map(Device::into_block).collect()
    }

    /// The first of them.
    pub(crate) fn device(&self) -> Arc<dyn Requests> {
        self.disks().remove(0)
    }

    /// Delivers the interrupts that the controller has raised, and those that it raises on account of them.
    pub(crate) fn deliver(&self) {
        while self.fake.wires().deliver() > 0 {}
    }
}
