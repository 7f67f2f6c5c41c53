// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver with a fake adapter: the tests of all block drivers, with queueing and without, and what only AHCI has.

use std::sync::Arc;

use exo_platform::{Buffer, fake, pci::Identity};

use super::{
    AHCI,
    fake::{FakeAhci, MEDIUM_ERROR, Skills},
};
use crate::{
    DriverError,
    block::{
        Cause, Operation, Request, TIMEOUT_NS,
        fake_disk::FakeDisk,
        suite::{Collector, FakeController, Misdeed, Rig, summary},
    },
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

const QUEUEING: Skills = Skills { queues: true, trims: true, keeps_error: false };
const PLAIN: Skills = Skills { queues: false, trims: false, keeps_error: false };

fn rig(disks: [Option<Arc<FakeDisk>>; 2], skills: Skills) -> Rig<FakeAhci> {
    Rig::new(&AHCI, IDENTITY, FakeAhci::new(disks, skills)).started()
}

fn start(disk: Arc<FakeDisk>) -> Rig<FakeAhci> {
    rig([Some(disk), None], QUEUEING)
}

crate::block_suite!(start);

/// A drive that takes one command at a time and knows no TRIM.
mod one_at_a_time {
    use super::*;

    fn start(disk: Arc<FakeDisk>) -> Rig<FakeAhci> {
        rig([Some(disk), None], PLAIN)
    }

    crate::block_suite!(start);
}

fn read(sink: &Arc<Collector>, sector: u64) -> Request {
    let buffer = Some(Buffer::kernel(512).unwrap());
    Request { operation: Operation::Read, sector, buffer, sectors: 1, sink: sink.clone(), token: sector }
}

#[test]
fn each_port_with_a_disk_is_a_disk_and_a_dvd_drive_is_left_alone() {
    let rig = rig([Some(FakeDisk::new(100, 512)), Some(FakeDisk::new(200, 512))], QUEUEING);
    let found: Vec<(String, u64)> =
        rig.disks().iter().map(|disk| (disk.name().to_string(), disk.geometry().sectors)).collect();
    assert!(found[0].0.ends_with("p0") && found[1].0.ends_with("p2"), "{found:?}");
    assert_eq!(found.iter().map(|disk| disk.1).collect::<Vec<_>>(), [100, 200]);
    assert_eq!(rig.disks()[0].model(), "Fake");
}

#[test]
fn an_adapter_without_disks_is_started_all_the_same() {
    let rig = rig([None, None], QUEUEING);
    assert!(rig.driver.is_ready() && rig.disks().is_empty());
}

#[test]
fn a_drive_that_is_left_alone_has_none_of_our_memory() {
    let rig = start(FakeDisk::new(100, 512));
    let strays = fake::dma::stray_accesses();
    for port in 0..4 {
        rig.fake.send_frame(port);
    }
    assert_eq!(fake::dma::stray_accesses(), strays);
    assert_eq!(rig.disks().len(), 1);
}

#[test]
fn queued_commands_share_a_doorbell() {
    let rig = start(FakeDisk::new(100, 512));
    let sink = Arc::<Collector>::default();
    let (disk, before) = (rig.device(), rig.fake.doorbells());
    for sector in 0..32 {
        disk.submit(0, read(&sink, sector)).unwrap();
    }
    disk.ring(0);
    assert_eq!(rig.fake.doorbells() - before, 1);
    rig.deliver();
    assert_eq!(sink.count(), 32);
}

#[test]
fn pulling_one_disk_out_leaves_the_other_working() {
    fake::cpu::set_clock(0);
    let rig = rig([Some(FakeDisk::new(100, 512)), Some(FakeDisk::new(200, 512))], QUEUEING);
    let (disks, sink) = (rig.disks(), Arc::<Collector>::default());
    rig.fake.pause(true);
    for disk in &disks {
        disk.submit(0, read(&sink, 1)).unwrap();
        disk.ring(0);
    }
    rig.fake.unplug(0);
    rig.deliver();
    let removed = sink.take();
    assert_eq!(removed.len(), 1);
    assert!(removed[0].result.is_err_and(|error| error.cause == Cause::Removed));
    rig.fake.pause(false);
    rig.deliver();
    assert_eq!(sink.take()[0].result, Ok(512));
    assert_eq!((disks[0].is_present(), disks[1].is_present()), (false, true));
}

#[test]
fn the_error_of_a_queued_command_resets_the_link_and_says_what_the_drive_said() {
    let medium = FakeDisk::new(100, 512);
    let rig = start(medium.clone());
    let sink = Arc::<Collector>::default();
    medium.set_bad(3, true);
    rig.fake.pause(true);
    for sector in 0..6 {
        rig.device().submit(0, read(&sink, sector)).unwrap();
    }
    rig.device().ring(0);
    rig.fake.pause(false);
    rig.deliver();
    let ended = sink.take();
    assert_eq!((ended.len(), rig.fake.link_resets(0)), (6, 1));
    let failed: Vec<_> = ended.iter().filter_map(|completion| completion.result.err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].sector, failed[0].cause), (Some(3), Cause::Medium(MEDIUM_ERROR)));
}

#[test]
fn an_error_that_the_drive_reports_once_more_is_not_the_next_commands() {
    let medium = FakeDisk::new(100, 512);
    let rig = rig([Some(medium.clone()), None], Skills { keeps_error: true, ..QUEUEING });
    let sink = Arc::<Collector>::default();
    rig.fake.pause(true);
    for sector in [3, 4] {
        medium.set_bad(sector, true);
        rig.device().submit(0, read(&sink, sector)).unwrap();
    }
    rig.device().ring(0);
    rig.fake.pause(false);
    rig.deliver();
    let ended = sink.take();
    assert_eq!(ended.iter().filter(|completion| completion.result.is_err()).count(), 2);
    rig.fake.pause(true);
    rig.device().submit(0, read(&sink, 5)).unwrap();
    rig.device().ring(0);
    rig.deliver();
    rig.fake.pause(false);
    rig.deliver();
    assert_eq!(summary(&sink.take()), [(5, Ok(512))]);
}

#[test]
fn the_error_of_a_command_alone_needs_no_link_reset() {
    let medium = FakeDisk::new(100, 512);
    let rig = rig([Some(medium.clone()), None], PLAIN);
    let sink = Arc::<Collector>::default();
    medium.set_bad(0, true);
    for sector in 0..3 {
        rig.device().submit(0, read(&sink, sector)).unwrap();
    }
    rig.device().ring(0);
    rig.deliver();
    let results: Vec<bool> = sink.take().iter().map(|completion| completion.result.is_ok()).collect();
    assert_eq!((results, rig.fake.link_resets(0)), (vec![false, true, true], 0));
}

#[test]
fn nothing_can_be_taken_back_from_a_port_that_does_not_stop() {
    fake::cpu::set_clock(0);
    let rig = start(FakeDisk::new(100, 512));
    let (disk, sink) = (rig.device(), Arc::<Collector>::default());
    rig.fake.misbehave(Misdeed::Dead);
    let tag = disk.submit(0, read(&sink, 0)).unwrap();
    disk.ring(0);
    fake::cpu::set_clock(TIMEOUT_NS + 1_000_000_000);
    disk.check_timeouts(TIMEOUT_NS + 1_000_000_000);
    assert!(!disk.cancel(0, tag), "the adapter may still use its buffer");
    assert_eq!(sink.count(), 0);
    fake::cpu::set_clock(2 * TIMEOUT_NS);
    disk.check_timeouts(2 * TIMEOUT_NS);
    assert_eq!(summary(&sink.take()), [(0, Err(Cause::TimedOut))]);
    assert!(!disk.is_present());
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let rig = Rig::new(&AHCI, IDENTITY, FakeAhci::new([None, None], QUEUEING));
    rig.fake.misbehave(Misdeed::Gone);
    assert_eq!(rig.driver.init(), Err(DriverError::Removed));
    assert!(!rig.driver.is_ready());
}
