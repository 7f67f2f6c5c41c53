// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver with a fake controller: the tests of all block drivers, and what only NVMe has.

use std::sync::Arc;

use exo_platform::{fake, pci::Identity};

use super::{NVME, fake::FakeNvme};
use crate::{
    DriverError,
    block::{
        Cause, Operation, Request, TIMEOUT_NS,
        fake_disk::FakeDisk,
        suite::{Collector, FakeController, Misdeed, Rig, filled},
    },
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

/// One that is not started yet.
fn stopped(disks: Vec<Arc<FakeDisk>>, vectors: usize, has_shadows: bool) -> Rig<FakeNvme> {
    Rig::new(&NVME, IDENTITY, FakeNvme::new(disks, vectors, has_shadows))
}

fn start(disk: Arc<FakeDisk>) -> Rig<FakeNvme> {
    stopped(vec![disk], 4, true).started()
}

crate::block_suite!(start);

/// A controller that has its doorbells in registers only.
mod without_shadow_doorbells {
    use super::*;

    fn start(disk: Arc<FakeDisk>) -> Rig<FakeNvme> {
        stopped(vec![disk], 4, false).started()
    }

    crate::block_suite!(start);
}

#[test]
fn a_controller_at_work_takes_doorbells_from_memory() {
    let disk = FakeDisk::new(100, 512);
    let rig = start(disk.clone());
    let sink = Arc::<Collector>::default();
    rig.fake.pause(true);
    for sector in 0..20 {
        rig.device().submit(0, write(&sink, sector, 1)).unwrap();
        rig.device().ring(0);
    }
    assert_eq!(rig.fake.doorbells(), 1, "it was told of the first and has not asked for more");
    rig.fake.pause(false);
    rig.deliver();
    assert_eq!((disk.deeds().len(), sink.count()), (20, 20));
    // Idle again, it wants to be told.
    rig.device().submit(0, write(&sink, 0, 1)).unwrap();
    rig.device().ring(0);
    rig.deliver();
    assert_eq!((rig.fake.doorbells(), sink.count()), (2, 21));
}

fn write(sink: &Arc<Collector>, sector: u64, byte: u8) -> Request {
    let buffer = Some(filled(&[byte; 512]));
    Request { operation: Operation::Write, sector, buffer, sectors: 1, sink: sink.clone(), token: 0 }
}

#[test]
fn each_namespace_is_a_disk_of_its_own() {
    let disks = vec![FakeDisk::new(100, 512), FakeDisk::new(200, 4096), FakeDisk::new(300, 512)];
    let rig = stopped(disks.clone(), 4, true).started();
    let sectors: Vec<u64> = rig.disks().iter().map(|disk| disk.geometry().sectors).collect();
    assert_eq!(sectors, [100, 200, 300]);
    let names: Vec<String> = rig.disks().iter().map(|disk| disk.name().to_string()).collect();
    assert!(names[0].ends_with("n1") && names[2].ends_with("n3"), "{names:?}");
    let sink = Arc::<Collector>::default();
    let third = &rig.disks()[2];
    third.submit(0, write(&sink, 5, 0x33)).unwrap();
    third.ring(0);
    rig.deliver();
    assert_eq!(sink.count(), 1);
    assert_eq!(disks[2].read(5, 1), Ok(vec![0x33; 512]));
    assert_eq!(disks[0].read(5, 1), Ok(vec![0; 512]));
    assert_eq!((third.model(), third.serial()), ("Fake", "FAKE-1"));
}

#[test]
fn one_interrupt_serves_all_queues_and_so_does_a_line() {
    for vectors in [1, 2] {
        let rig = stopped(vec![FakeDisk::new(100, 512)], vectors, true).started();
        let sink = Arc::<Collector>::default();
        let disk = rig.device();
        for cpu in 0..4 {
            disk.submit(cpu, write(&sink, cpu as u64, 1)).unwrap();
            disk.ring(cpu);
        }
        rig.deliver();
        assert_eq!(sink.count(), 4);
    }
}

#[test]
fn an_overdue_command_is_aborted_before_the_controller_is_reset() {
    fake::cpu::set_clock(0);
    let rig = start(FakeDisk::new(100, 512));
    let sink = Arc::<Collector>::default();
    rig.fake.misbehave(Misdeed::Silent);
    rig.device().submit(0, write(&sink, 0, 1)).unwrap();
    rig.device().ring(0);
    rig.device().check_timeouts(TIMEOUT_NS + 1_000_000_000);
    assert_eq!((rig.fake.aborted().len(), rig.fake.resets()), (1, 0));
    rig.device().check_timeouts(TIMEOUT_NS + 2_000_000_000);
    assert_eq!((rig.fake.aborted().len(), rig.fake.resets()), (1, 0), "once is enough");
    rig.device().check_timeouts(TIMEOUT_NS + 10_000_000_000);
    assert_eq!((rig.fake.aborted().len(), rig.fake.resets()), (1, 1));
    assert_eq!(sink.count(), 1);
}

#[test]
fn doorbells_are_rung_once_for_many_requests() {
    // Counted by the fake: a doorbell carries the tail, and the controller works off all in between.
    let disk = FakeDisk::new(100, 512);
    let rig = start(disk.clone());
    let sink = Arc::<Collector>::default();
    let device = rig.device();
    for sector in 0..20 {
        device.submit(0, write(&sink, sector, 1)).unwrap();
        assert!(disk.deeds().is_empty(), "nobody has rung");
    }
    device.ring(0);
    assert_eq!(disk.deeds().len(), 20);
    rig.deliver();
    assert_eq!(sink.count(), 20);
}

#[test]
fn a_controller_that_does_not_start_is_an_error_in_the_end() {
    fake::cpu::set_clock(0);
    let rig = stopped(vec![FakeDisk::new(1, 512)], 1, false);
    rig.fake.misbehave(Misdeed::Dead);
    assert!(matches!(rig.driver.init(), Err(DriverError::TimedOut(_))));
    assert!(!rig.driver.is_ready() && rig.driver.devices().is_empty());
    rig.fake.misbehave(Misdeed::Gone);
    let again = Rig::new(&NVME, IDENTITY, rig.fake.clone());
    assert_eq!(again.driver.init(), Err(DriverError::Removed));
}

#[test]
fn a_controller_that_makes_no_queues_loses_its_memory_before_that_is_freed() {
    let rig = stopped(vec![FakeDisk::new(1, 512)], 1, false);
    rig.fake.refuse_queues();
    let strays = fake::dma::stray_accesses();
    assert!(matches!(rig.driver.init(), Err(DriverError::Device(_))));
    assert_eq!(fake::dma::stray_accesses(), strays);
}

#[test]
fn what_a_controller_gives_up_by_itself_was_not_cancelled_by_anybody() {
    let rig = start(FakeDisk::new(100, 512));
    let sink = Arc::<Collector>::default();
    rig.fake.give_up();
    rig.device().submit(0, write(&sink, 0, 1)).unwrap();
    rig.device().ring(0);
    rig.deliver();
    assert_eq!(sink.take()[0].result.unwrap_err().cause, Cause::NotReady);
}

#[test]
fn nothing_can_be_taken_back_from_a_controller_that_does_not_stop() {
    fake::cpu::set_clock(0);
    let rig = start(FakeDisk::new(100, 512));
    let sink = Arc::<Collector>::default();
    let device = rig.device();
    rig.fake.misbehave(Misdeed::Dead);
    let tag = device.submit(0, write(&sink, 0, 1)).unwrap();
    device.ring(0);
    for seconds in [1, 10] {
        device.check_timeouts(TIMEOUT_NS + seconds * 1_000_000_000);
    }
    assert!(!device.cancel(0, tag), "the controller may still use its buffer");
    assert!((sink.count() == 0));
    device.check_timeouts(2 * TIMEOUT_NS);
    let error = sink.take()[0].result.unwrap_err();
    assert_eq!((error.cause, device.is_present()), (Cause::TimedOut, false));
}
