// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver with a fake device: the tests of all block drivers, and what only virtio has.

use std::sync::Arc;

use exo_platform::{
    Buffer,
    fake::{cpu, dma},
    pci::Identity,
};

use super::{
    VIRTIO_BLK,
    fake::FakeBlk,
    format::feature,
    queue::{RequestQueue, Rules},
};
use crate::{
    block::{
        BlockDevice, Cause, Operation, Polled, Request, device_name,
        fake_disk::{Deed, FakeDisk},
        suite::{Collector, FakeController, Misdeed, Rig, summary},
    },
    virtio,
};

/// One that is not started yet.
fn stopped(disk: Arc<FakeDisk>, own_features: u64, without: u64, vectors: usize) -> Rig<FakeBlk> {
    let identity = Identity { vendor: 0x1af4, device: 0x1042, class: 1, ..Identity::default() };
    Rig::new(&VIRTIO_BLK, identity, FakeBlk::new(disk, own_features, without, vectors))
}

fn rig(disk: Arc<FakeDisk>, own_features: u64, without: u64, vectors: usize) -> Rig<FakeBlk> {
    stopped(disk, own_features, without, vectors).started()
}

fn start(disk: Arc<FakeDisk>) -> Rig<FakeBlk> {
    rig(disk, virtio::feature::INDIRECT | virtio::feature::EVENT_INDEX, 0, 4)
}

crate::block_suite!(start);

/// The same, of a device that has nothing but what it must.
mod plain {
    use super::*;

    fn start(disk: Arc<FakeDisk>) -> Rig<FakeBlk> {
        // One interrupt, which is no message from a table; no tables of descriptors, no event index.
        rig(disk, 0, 0, 1)
    }

    crate::block_suite!(start);
}

#[test]
fn the_device_says_its_serial_number() {
    let rig = start(FakeDisk::new(64, 512));
    assert_eq!(rig.device().serial(), "exo-0815");
}

#[test]
fn a_serial_number_that_comes_too_late_is_written_to_memory_that_is_still_there() {
    cpu::set_clock(0);
    let rig = stopped(FakeDisk::new(64, 512), 0, 0, 4);
    rig.fake.dawdle();
    let strays = dma::stray_accesses();
    let rig = rig.started();
    assert_eq!((rig.device().serial(), dma::stray_accesses()), ("", strays));
    assert_eq!(Polled::new(rig.device()).read_sectors(1, &mut [0; 512]), Ok(()));
}

#[test]
fn a_device_that_keeps_nothing_back_needs_no_flush() {
    let disk = FakeDisk::new(64, 512);
    let rig = rig(disk.clone(), 0, feature::FLUSH, 4);
    let front = Polled::new(rig.device());
    front.write_sectors(3, &[7; 512]).unwrap();
    front.flush().unwrap();
    assert_eq!(disk.deeds(), [Deed::Write(3)]);
}

#[test]
fn a_device_without_discard_refuses_it() {
    let rig = rig(FakeDisk::new(64, 512), 0, feature::DISCARD, 4);
    assert!(!rig.device().geometry().discard);
}

#[test]
fn an_overdue_request_costs_one_reset() {
    cpu::set_clock(1_000_000_000);
    let rig = start(FakeDisk::new(64, 512));
    let before = rig.fake.resets();
    rig.fake.misbehave(Misdeed::Silent);
    // The front looks at the clock by itself.
    let error = Polled::new(rig.device()).read_sectors(1, &mut [0; 512]).unwrap_err();
    assert_eq!((error.cause, error.sector), (Cause::TimedOut, Some(1)));
    assert_eq!(rig.fake.resets(), before + 1);
    assert_eq!(Polled::new(rig.device()).read_sectors(1, &mut [0; 512]), Ok(()));
}

#[test]
fn a_buffer_in_more_parts_than_the_device_takes_is_refused() {
    let rig = start(FakeDisk::new(256, 512));
    let sink = Arc::<Collector>::default();
    let buffer = Buffer::scattered(&[512; 40]).unwrap();
    let request = Request {
        operation: Operation::Write,
        sector: 0,
        sectors: 40,
        buffer: Some(buffer),
        sink: sink.clone(),
        token: 5,
    };
    let refused = rig.device().submit(0, request).unwrap_err();
    assert_eq!((refused.why.cause, refused.request.token), (Cause::Misaligned, 5));
    assert_eq!(sink.count(), 0, "a refused request must not reach its sink");
}

#[test]
fn nothing_can_be_taken_back_while_the_device_is_being_reset() {
    let layout = virtio::Layout { size: 8, chain: 4, is_indirect: false, has_event_index: false };
    let rules = Rules { scale: 1, size_max: u32::MAX, can_flush: true };
    let queue = RequestQueue::new(device_name(format_args!("vblk")), rules, layout, 0).unwrap();
    let sink = Arc::<Collector>::default();
    let read = || {
        let buffer = Some(Buffer::kernel(512).unwrap());
        Request { operation: Operation::Read, sector: 0, sectors: 1, buffer, sink: sink.clone(), token: 1 }
    };
    queue.release();
    let told = queue.submit(read()).unwrap();
    queue.ring();
    queue.hold();
    assert!(!queue.cancel(told), "the device may still use its buffer");
    queue.forget(0);
    queue.release();
    assert_eq!((queue.drain(), sink.count()), (1, 0), "it was given to the device again");
    let waiting = queue.submit(read()).unwrap();
    assert!(queue.cancel(waiting));
    assert_eq!(summary(&sink.take()), [(1, Err(Cause::Cancelled))]);
}

#[test]
fn what_does_not_fit_is_refused_also_while_the_device_is_being_reset() {
    let layout = virtio::Layout { size: 8, chain: 4, is_indirect: false, has_event_index: false };
    let rules = Rules { scale: 1, size_max: 1024, can_flush: true };
    let queue = RequestQueue::new(device_name(format_args!("vblk")), rules, layout, 0).unwrap();
    let sink = Arc::<Collector>::default();
    let read = |sizes: &[usize]| {
        let (buffer, sectors) = (Some(Buffer::scattered(sizes).unwrap()), sizes.iter().sum::<usize>() / 512);
        let (operation, sink) = (Operation::Read, sink.clone());
        Request { operation, sector: 0, sectors: sectors as u32, buffer, sink, token: 1 }
    };
    for is_held in [true, false] {
        for sizes in [&[512, 512, 512][..], &[1024, 1536]] {
            assert_eq!(queue.submit(read(sizes)).map_err(|(_, cause)| cause), Err(Cause::Misaligned));
        }
        assert!(queue.submit(read(&[512, 1024])).is_ok(), "held: {is_held}");
        queue.release();
    }
}
