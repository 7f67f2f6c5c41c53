// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver with a fake controller: the tests of all block drivers, and what only NVMe has.

use std::sync::Arc;

use exo_platform::{
    Buffer,
    fake::{self, Wires},
    pci::{Address, Function, Identity},
};

use super::{NVME, fake::FakeNvme};
use crate::{
    Device, Driver, DriverError,
    block::{
        Cause, Completion, Operation, Request, Requests, Sink, TIMEOUT_NS,
        fake_disk::FakeDisk,
        suite::{Misdeed, Rig},
    },
    bus::Found,
};

const IDENTITY: Identity = Identity {
    vendor: 0x1b36,
    device: 0x0010,
    class: 1,
    subclass: 8,
    interface: 2,
    revision: 2,
    subsystem_vendor: 0,
    subsystem: 0,
};

struct NvmeRig {
    fake: Arc<FakeNvme>,
    wires: Wires,
    driver: Arc<dyn Driver>,
}

impl NvmeRig {
    fn with(disks: Vec<Arc<FakeDisk>>, vectors: usize) -> Result<Self, DriverError> {
        Self::with_shadows(disks, vectors, true)
    }

    fn with_shadows(
        disks: Vec<Arc<FakeDisk>>,
        vectors: usize,
        has_shadows: bool,
    ) -> Result<Self, DriverError> {
        let wires = Wires::new();
        let fake = FakeNvme::new(disks, wires.clone(), vectors, has_shadows);
        let function = Function::fake(Address::default(), IDENTITY, fake.clone(), wires.clone());
        let found = Found::Pci(function);
        assert!(NVME.matches.iter().any(|rule| found.fits(rule)));
        let driver = (NVME.probe)(&found)?;
        driver.init()?;
        Ok(Self { fake, wires, driver })
    }

    fn disks(&self) -> Vec<Arc<dyn Requests>> {
        self.driver.devices().into_iter().filter_map(Device::into_block).collect()
    }
}

impl Rig for NvmeRig {
    fn start(disk: Arc<FakeDisk>) -> Self {
        Self::with(vec![disk], 4).unwrap()
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
        self.wires.deliver();
    }

    fn misbehave(&self, misdeed: Misdeed) {
        self.fake.misbehave(misdeed);
    }
}

crate::block_suite!(NvmeRig);

/// A controller that has its doorbells in registers only.
mod without_shadow_doorbells {
    use super::*;

    struct PlainRig(NvmeRig);

    impl Rig for PlainRig {
        fn start(disk: Arc<FakeDisk>) -> Self {
            Self(NvmeRig::with_shadows(vec![disk], 4, false).unwrap())
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

#[test]
fn a_controller_at_work_takes_doorbells_from_memory() {
    let disk = FakeDisk::new(100, 512);
    let rig = NvmeRig::start(disk.clone());
    let sink = Arc::new(Results::default());
    rig.pause(true);
    for sector in 0..20 {
        rig.device().submit(0, write(&sink, sector, 1)).unwrap();
        rig.device().ring(0);
    }
    assert_eq!(rig.fake.doorbells(), 1, "it was told of the first and has not asked for more");
    rig.pause(false);
    rig.deliver();
    assert_eq!((disk.deeds().len(), sink.0.lock().unwrap().len()), (20, 20));
    // Idle again, it wants to be told.
    rig.device().submit(0, write(&sink, 0, 1)).unwrap();
    rig.device().ring(0);
    rig.deliver();
    assert_eq!((rig.fake.doorbells(), sink.0.lock().unwrap().len()), (2, 21));
}

#[derive(Default)]
struct Results(std::sync::Mutex<Vec<Completion>>);

impl Sink for Results {
    fn complete(&self, completion: Completion) {
        self.0.lock().unwrap().push(completion);
    }
}

fn write(sink: &Arc<Results>, sector: u64, byte: u8) -> Request {
    let mut buffer = Buffer::kernel(512).unwrap();
    buffer.copy_from(0, &[byte; 512]);
    Request {
        operation: Operation::Write,
        sector,
        buffer: Some(buffer),
        sectors: 1,
        sink: sink.clone(),
        token: 0,
    }
}

#[test]
fn each_namespace_is_a_disk_of_its_own() {
    let disks = vec![FakeDisk::new(100, 512), FakeDisk::new(200, 4096), FakeDisk::new(300, 512)];
    let rig = NvmeRig::with(disks.clone(), 4).unwrap();
    let sectors: Vec<u64> = rig.disks().iter().map(|disk| disk.geometry().sectors).collect();
    assert_eq!(sectors, [100, 200, 300]);
    let names: Vec<String> = rig.disks().iter().map(|disk| disk.name().to_string()).collect();
    assert!(names[0].ends_with("n1") && names[2].ends_with("n3"), "{names:?}");
    let sink = Arc::new(Results::default());
    let third = &rig.disks()[2];
    third.submit(0, write(&sink, 5, 0x33)).unwrap();
    third.ring(0);
    rig.deliver();
    assert_eq!(sink.0.lock().unwrap().len(), 1);
    assert_eq!(disks[2].read(5, 1), Ok(vec![0x33; 512]));
    assert_eq!(disks[0].read(5, 1), Ok(vec![0; 512]));
    assert_eq!((third.model(), third.serial()), ("Fake", "FAKE-1"));
}

#[test]
fn one_interrupt_serves_all_queues_and_so_does_a_line() {
    for vectors in [1, 2] {
        let rig = NvmeRig::with(vec![FakeDisk::new(100, 512)], vectors).unwrap();
        let sink = Arc::new(Results::default());
        let disk = rig.device();
        for cpu in 0..4 {
            disk.submit(cpu, write(&sink, cpu as u64, 1)).unwrap();
            disk.ring(cpu);
        }
        rig.deliver();
        assert_eq!(sink.0.lock().unwrap().len(), 4);
    }
}

#[test]
fn an_overdue_command_is_aborted_before_the_controller_is_reset() {
    fake::cpu::set_clock(0);
    let rig = NvmeRig::start(FakeDisk::new(100, 512));
    let sink = Arc::new(Results::default());
    rig.misbehave(Misdeed::Silent);
    rig.device().submit(0, write(&sink, 0, 1)).unwrap();
    rig.device().ring(0);
    rig.device().check_timeouts(TIMEOUT_NS + 1_000_000_000);
    assert_eq!((rig.fake.aborted().len(), rig.fake.resets()), (1, 0));
    rig.device().check_timeouts(TIMEOUT_NS + 2_000_000_000);
    assert_eq!((rig.fake.aborted().len(), rig.fake.resets()), (1, 0), "once is enough");
    rig.device().check_timeouts(TIMEOUT_NS + 10_000_000_000);
    assert_eq!((rig.fake.aborted().len(), rig.fake.resets()), (1, 1));
    assert_eq!(sink.0.lock().unwrap().len(), 1);
}

#[test]
fn doorbells_are_rung_once_for_many_requests() {
    // Counted by the fake: a doorbell carries the tail, and the controller works off all in between.
    let disk = FakeDisk::new(100, 512);
    let rig = NvmeRig::start(disk.clone());
    let sink = Arc::new(Results::default());
    let device = rig.device();
    for sector in 0..20 {
        device.submit(0, write(&sink, sector, 1)).unwrap();
        assert!(disk.deeds().is_empty(), "nobody has rung");
    }
    device.ring(0);
    assert_eq!(disk.deeds().len(), 20);
    rig.deliver();
    assert_eq!(sink.0.lock().unwrap().len(), 20);
}

#[test]
fn a_controller_that_does_not_start_is_an_error_in_the_end() {
    fake::cpu::set_clock(0);
    let wires = Wires::new();
    let fake = FakeNvme::new(vec![FakeDisk::new(1, 512)], wires.clone(), 1, false);
    fake.misbehave(Misdeed::Dead);
    let function = Function::fake(Address::default(), IDENTITY, fake.clone(), wires);
    let driver = (NVME.probe)(&Found::Pci(function.clone())).unwrap();
    assert!(matches!(driver.init(), Err(DriverError::TimedOut(_))));
    assert!(!driver.is_ready() && driver.devices().is_empty());
    fake.misbehave(Misdeed::Gone);
    let driver = (NVME.probe)(&Found::Pci(function)).unwrap();
    assert_eq!(driver.init(), Err(DriverError::Removed));
}

#[test]
fn a_controller_that_makes_no_queues_loses_its_memory_before_that_is_freed() {
    let wires = Wires::new();
    let fake = FakeNvme::new(vec![FakeDisk::new(1, 512)], wires.clone(), 1, false);
    fake.refuse_queues();
    let function = Function::fake(Address::default(), IDENTITY, fake, wires);
    let driver = (NVME.probe)(&Found::Pci(function)).unwrap();
    let strays = fake::dma::stray_accesses();
    assert!(matches!(driver.init(), Err(DriverError::Device(_))));
    assert_eq!(fake::dma::stray_accesses(), strays);
}

#[test]
fn nothing_can_be_taken_back_from_a_controller_that_does_not_stop() {
    fake::cpu::set_clock(0);
    let rig = NvmeRig::start(FakeDisk::new(100, 512));
    let sink = Arc::new(Results::default());
    let device = rig.device();
    rig.misbehave(Misdeed::Dead);
    let tag = device.submit(0, write(&sink, 0, 1)).unwrap();
    device.ring(0);
    for seconds in [1, 10] {
        device.check_timeouts(TIMEOUT_NS + seconds * 1_000_000_000);
    }
    assert!(!device.cancel(0, tag), "the controller may still use its buffer");
    assert!(sink.0.lock().unwrap().is_empty());
    device.check_timeouts(2 * TIMEOUT_NS);
    let error = sink.0.lock().unwrap().pop().unwrap().result.unwrap_err();
    assert_eq!((error.cause, device.is_present()), (Cause::TimedOut, false));
}
