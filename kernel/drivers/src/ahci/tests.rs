// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver with a fake adapter: the tests of all block drivers, with queueing and without, and what only AHCI has.

use std::sync::{Arc, Mutex};

use exo_platform::{
    Buffer,
    fake::{self, Wires},
    pci::{Address, Function, Identity},
};

use super::{
    AHCI,
    fake::{FakeAhci, MEDIUM_ERROR, Skills},
};
use crate::{
    Device, Driver, DriverError,
    block::{
        Cause, Completion, Operation, Request, Requests, Sink,
        fake_disk::FakeDisk,
        suite::{Misdeed, Rig},
    },
    bus::Found,
};

const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x2922,
    class: 1,
    subclass: 6,
    interface: 1,
    revision: 2,
    subsystem_vendor: 0,
    subsystem: 0,
};

struct AhciRig {
    fake: Arc<FakeAhci>,
    wires: Wires,
    driver: Arc<dyn Driver>,
}

impl AhciRig {
    fn with(disks: [Option<Arc<FakeDisk>>; 2], skills: Skills) -> Self {
        let wires = Wires::new();
        let fake = FakeAhci::new(disks, wires.clone(), skills);
        let function = Function::fake(Address::default(), IDENTITY, fake.clone(), wires.clone());
        let found = Found::Pci(function);
        assert!(AHCI.matches.iter().any(|rule| found.fits(rule)));
        let driver = (AHCI.probe)(&found).unwrap();
        driver.init().unwrap();
        Self { fake, wires, driver }
    }

    fn disks(&self) -> Vec<Arc<dyn Requests>> {
        self.driver.devices().into_iter().filter_map(Device::into_block).collect()
    }
}

impl Rig for AhciRig {
    fn start(disk: Arc<FakeDisk>) -> Self {
        Self::with([Some(disk), None], Skills { queues: true, trims: true })
    }

    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.clone()
    }

    fn device(&self) -> Arc<dyn Requests> {
        self.disks().remove(0)
    }

    fn pause(&self, is_paused: bool) {
        self.fake.pause(is_paused);
    }

    fn deliver(&self) {
        // What was given to the drive because another command ended raises an interrupt of its own.
        while self.wires.deliver() > 0 {}
    }

    fn misbehave(&self, misdeed: Misdeed) {
        self.fake.misbehave(misdeed);
    }
}

crate::block_suite!(AhciRig);

/// A drive that takes one command at a time and knows no TRIM.
mod one_at_a_time {
    use super::*;

    struct PlainRig(AhciRig);

    impl Rig for PlainRig {
        fn start(disk: Arc<FakeDisk>) -> Self {
            Self(AhciRig::with([Some(disk), None], Skills { queues: false, trims: false }))
        }

        fn driver(&self) -> Arc<dyn Driver> {
            self.0.driver()
        }

        fn device(&self) -> Arc<dyn Requests> {
            self.0.device()
        }

        fn pause(&self, is_paused: bool) {
            self.0.pause(is_paused);
        }

        fn deliver(&self) {
            self.0.deliver();
        }

        fn misbehave(&self, misdeed: Misdeed) {
            self.0.misbehave(misdeed);
        }
    }

    crate::block_suite!(PlainRig);
}

#[derive(Default)]
struct Results(Mutex<Vec<Completion>>);

impl Sink for Results {
    fn complete(&self, completion: Completion) {
        self.0.lock().unwrap().push(completion);
    }
}

fn read(sink: &Arc<Results>, sector: u64) -> Request {
    let buffer = Some(Buffer::kernel(512).unwrap());
    Request { operation: Operation::Read, sector, buffer, sectors: 1, sink: sink.clone(), token: sector }
}

const QUEUEING: Skills = Skills { queues: true, trims: true };

#[test]
fn each_port_with_a_disk_is_a_disk_and_a_dvd_drive_is_left_alone() {
    let rig = AhciRig::with([Some(FakeDisk::new(100, 512)), Some(FakeDisk::new(200, 512))], QUEUEING);
    let found: Vec<(String, u64)> =
        rig.disks().iter().map(|disk| (disk.name().to_string(), disk.geometry().sectors)).collect();
    assert!(found[0].0.ends_with("p0") && found[1].0.ends_with("p2"), "{found:?}");
    assert_eq!(found.iter().map(|disk| disk.1).collect::<Vec<_>>(), [100, 200]);
    assert_eq!(rig.disks()[0].model(), "Fake");
}

#[test]
fn an_adapter_without_disks_is_started_all_the_same() {
    let rig = AhciRig::with([None, None], QUEUEING);
    assert!(rig.driver.is_ready() && rig.disks().is_empty());
}

#[test]
fn a_drive_that_is_left_alone_has_none_of_our_memory() {
    let rig = AhciRig::with([Some(FakeDisk::new(100, 512)), None], QUEUEING);
    let strays = fake::dma::stray_accesses();
    for port in 0..4 {
        rig.fake.send_frame(port);
    }
    assert_eq!(fake::dma::stray_accesses(), strays);
    assert_eq!(rig.disks().len(), 1);
}

#[test]
fn queued_commands_share_a_doorbell() {
    let rig = AhciRig::with([Some(FakeDisk::new(100, 512)), None], QUEUEING);
    let sink = Arc::new(Results::default());
    let (disk, before) = (rig.device(), rig.fake.doorbells());
    for sector in 0..32 {
        disk.submit(0, read(&sink, sector)).unwrap();
    }
    disk.ring(0);
    assert_eq!(rig.fake.doorbells() - before, 1);
    rig.deliver();
    assert_eq!(sink.0.lock().unwrap().len(), 32);
}

#[test]
fn pulling_one_disk_out_leaves_the_other_working() {
    fake::cpu::set_clock(0);
    let rig = AhciRig::with([Some(FakeDisk::new(100, 512)), Some(FakeDisk::new(200, 512))], QUEUEING);
    let (disks, sink) = (rig.disks(), Arc::new(Results::default()));
    rig.pause(true);
    for disk in &disks {
        disk.submit(0, read(&sink, 1)).unwrap();
        disk.ring(0);
    }
    rig.fake.unplug(0);
    rig.deliver();
    let removed = std::mem::take(&mut *sink.0.lock().unwrap());
    assert_eq!(removed.len(), 1);
    assert!(removed[0].result.is_err_and(|error| error.cause == Cause::Removed));
    rig.pause(false);
    rig.deliver();
    assert_eq!(sink.0.lock().unwrap().pop().unwrap().result, Ok(512));
    assert_eq!((disks[0].is_present(), disks[1].is_present()), (false, true));
}

#[test]
fn the_error_of_a_queued_command_resets_the_link_and_says_what_the_drive_said() {
    let medium = FakeDisk::new(100, 512);
    let rig = AhciRig::with([Some(medium.clone()), None], QUEUEING);
    let sink = Arc::new(Results::default());
    medium.set_bad(3, true);
    rig.pause(true);
    for sector in 0..6 {
        rig.device().submit(0, read(&sink, sector)).unwrap();
    }
    rig.device().ring(0);
    rig.pause(false);
    rig.deliver();
    let ended = std::mem::take(&mut *sink.0.lock().unwrap());
    assert_eq!((ended.len(), rig.fake.link_resets(0)), (6, 1));
    let failed: Vec<_> = ended.iter().filter_map(|completion| completion.result.err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].sector, failed[0].cause), (Some(3), Cause::Medium(MEDIUM_ERROR)));
}

#[test]
fn the_error_of_a_command_alone_needs_no_link_reset() {
    let medium = FakeDisk::new(100, 512);
    let rig = AhciRig::with([Some(medium.clone()), None], Skills { queues: false, trims: false });
    let sink = Arc::new(Results::default());
    medium.set_bad(0, true);
    for sector in 0..3 {
        rig.device().submit(0, read(&sink, sector)).unwrap();
    }
    rig.device().ring(0);
    rig.deliver();
    let results: Vec<bool> =
        sink.0.lock().unwrap().iter().map(|completion| completion.result.is_ok()).collect();
    assert_eq!((results, rig.fake.link_resets(0)), (vec![false, true, true], 0));
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let wires = Wires::new();
    let fake = FakeAhci::new([None, None], wires.clone(), QUEUEING);
    let function = Function::fake(Address::default(), IDENTITY, fake.clone(), wires);
    let driver = (AHCI.probe)(&Found::Pci(function)).unwrap();
    fake.misbehave(Misdeed::Gone);
    assert_eq!(driver.init(), Err(DriverError::Removed));
    assert!(!driver.is_ready());
}
