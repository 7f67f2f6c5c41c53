// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver with a fake device: the tests of all block drivers, and what only virtio has.

use std::sync::Arc;

use exo_platform::{
    Buffer,
    fake::Wires,
    pci::{Address, Function, Identity},
};

use super::{VIRTIO_BLK, fake::FakeBlk, fake_bus::FakeVirtio, format::feature};
use crate::{
    Device, Driver,
    block::{
        BlockDevice, Cause, Operation, Polled, Requests,
        fake_disk::{Deed, FakeDisk},
        suite::{Misdeed, Rig},
    },
    bus::Found,
    virtio,
};

struct BlkRig {
    fake: Arc<FakeVirtio<FakeBlk>>,
    wires: Wires,
    driver: Arc<dyn Driver>,
}

impl BlkRig {
    fn with(disk: Arc<FakeDisk>, own_features: u64, without: u64, vectors: usize) -> Self {
        // Without tables, a request takes many descriptors.
        let size = if own_features & virtio::feature::INDIRECT == 0 { 2048 } else { 128 };
        let wires = Wires::new();
        let backend = FakeBlk { disk, without };
        let fake = FakeVirtio::new(backend, wires.clone(), size, own_features, vectors);
        let identity = Identity { vendor: 0x1af4, device: 0x1042, class: 1, ..Identity::default() };
        let function = Function::fake(Address::default(), identity, fake.clone(), wires.clone());
        let found = Found::Pci(function);
        assert!(VIRTIO_BLK.matches.iter().any(|rule| found.fits(rule)));
        let driver = (VIRTIO_BLK.probe)(&found).unwrap();
        driver.init().unwrap();
        Self { fake, wires, driver }
    }
}

impl Rig for BlkRig {
    fn start(disk: Arc<FakeDisk>) -> Self {
        Self::with(disk, virtio::feature::INDIRECT | virtio::feature::EVENT_INDEX, 0, 4)
    }

    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.clone()
    }

    fn device(&self) -> Arc<dyn Requests> {
        self.driver.devices().into_iter().find_map(Device::into_block).unwrap()
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

crate::block_suite!(BlkRig);

/// The same, of a device that has nothing but what it must.
mod plain {
    use super::*;

    struct PlainRig(BlkRig);

    impl Rig for PlainRig {
        fn start(disk: Arc<FakeDisk>) -> Self {
            // One interrupt, which is no message from a table; no tables of descriptors, no event index.
            Self(BlkRig::with(disk, 0, 0, 1))
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
fn the_device_says_its_serial_number() {
    let rig = BlkRig::start(FakeDisk::new(64, 512));
    assert_eq!(rig.device().serial(), "exo-0815");
}

#[test]
fn a_device_that_keeps_nothing_back_needs_no_flush() {
    let disk = FakeDisk::new(64, 512);
    let rig = BlkRig::with(disk.clone(), 0, feature::FLUSH, 4);
    let front = Polled::new(rig.device());
    front.write_sectors(3, &[7; 512]).unwrap();
    front.flush().unwrap();
    assert_eq!(disk.deeds(), [Deed::Write(3)]);
}

#[test]
fn a_device_without_discard_refuses_it() {
    let rig = BlkRig::with(FakeDisk::new(64, 512), 0, feature::DISCARD, 4);
    assert!(!rig.device().geometry().discard);
}

#[test]
fn an_overdue_request_costs_one_reset() {
    use exo_platform::fake::cpu;
    cpu::set_clock(1_000_000_000);
    let rig = BlkRig::start(FakeDisk::new(64, 512));
    let before = rig.fake.resets();
    rig.misbehave(Misdeed::Silent);
    // The front looks at the clock by itself.
    let error = Polled::new(rig.device()).read_sectors(1, &mut [0; 512]).unwrap_err();
    assert_eq!((error.cause, error.sector), (Cause::TimedOut, Some(1)));
    assert_eq!(rig.fake.resets(), before + 1);
    assert_eq!(Polled::new(rig.device()).read_sectors(1, &mut [0; 512]), Ok(()));
}

#[test]
fn a_buffer_in_more_parts_than_the_device_takes_is_refused() {
    use crate::block::{Completion, Request, Sink};
    struct Nobody;
    impl Sink for Nobody {
        fn complete(&self, _completion: Completion) {
            panic!("a refused request must not reach its sink");
        }
    }
    let rig = BlkRig::start(FakeDisk::new(256, 512));
    let buffer = Buffer::scattered(&[512; 40]).unwrap();
    let request = Request {
        operation: Operation::Write,
        sector: 0,
        sectors: 40,
        buffer: Some(buffer),
        sink: Arc::new(Nobody),
        token: 5,
    };
    let refused = rig.device().submit(0, request).unwrap_err();
    assert_eq!((refused.why.cause, refused.request.token), (Cause::Misaligned, 5));
}
