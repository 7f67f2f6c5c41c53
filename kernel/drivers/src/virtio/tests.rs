// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transport against a device that tests make up.

use std::sync::Arc;

use exo_platform::{Dma, pci::Function};

use super::{
    Layout, Part, Queue, Transport, Used,
    fake::{FakeVirtio, Kind},
    feature::VERSION_1,
    status,
};
use crate::DriverError;

fn kind() -> Kind {
    Kind { features: VERSION_1 | 0b1010, queue_sizes: vec![8, 300], config: vec![1, 2, 3, 4], vectors: 3 }
}

fn device(kind: Kind) -> (Arc<FakeVirtio>, Function) {
    let fake = Arc::new(FakeVirtio::new(kind));
    let function = fake.function();
    (fake, function)
}

fn queue() -> Queue {
    Queue::new(Layout { size: 8, chain: 4, is_indirect: false, has_event_index: false }, None).unwrap()
}

#[test]
fn features_are_those_that_both_have() {
    let (fake, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    assert_eq!(transport.negotiate(0b0110).unwrap(), VERSION_1 | 0b0010);
    assert_eq!(fake.lock().agreed, VERSION_1 | 0b0010);
    assert!(!fake.is_running());
    assert_eq!((transport.queue_count(), transport.queue_size(1), transport.queue_size(2)), (2, 300, 0));
    assert_eq!(transport.read_device(|registers| registers.read32(0)), Some(0x0403_0201));
    transport.start();
    assert!(fake.is_running());
}

#[test]
fn a_device_that_does_not_keep_to_the_standard_is_refused() {
    let (_, function) = device(Kind { features: 0b1010, ..kind() });
    let old = Transport::new(&function).unwrap().negotiate(0);
    assert!(matches!(old, Err(DriverError::Declined(_))), "{old:?}");
    let (fake, function) = device(kind());
    fake.lock().disagrees = true;
    let transport = Transport::new(&function).unwrap();
    assert!(matches!(transport.negotiate(0), Err(DriverError::Device(_))));
    assert_ne!(fake.lock().status & status::FAILED, 0, "it is told");
    let (fake, function) = device(kind());
    fake.lock().restless = true;
    let transport = Transport::new(&function).unwrap();
    assert_eq!(transport.read_device(|_| ()), None);
}

#[test]
fn a_device_that_is_not_there_any_more_has_nothing() {
    let (fake, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    fake.lock().absent = true;
    assert_eq!(transport.reset(), Err(DriverError::Removed));
    assert_eq!((transport.queue_count(), transport.queue_size(0)), (0, 0));
    assert!(Transport::new(&function).is_err());
}

#[test]
fn a_device_that_never_resets_is_given_up() {
    let (fake, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    transport.negotiate(0).unwrap();
    fake.lock().never_resets = true;
    assert!(matches!(transport.reset(), Err(DriverError::TimedOut(_))));
}

#[test]
fn a_vector_that_the_device_has_no_room_for_is_an_error() {
    let (_, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    transport.negotiate(0).unwrap();
    assert!(transport.set_queue(0, &queue(), Some(3)).is_err());
    assert!(transport.set_queue(0, &queue(), None).is_ok());
}

#[test]
fn chains_go_to_the_device_and_come_back() {
    let (fake, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    transport.negotiate(0).unwrap();
    let mut queue = queue();
    let bell = transport.set_queue(0, &queue, Some(1)).unwrap();
    transport.start();
    let dma = Dma::new(4096, 4096, None).unwrap();
    dma.write_bytes(0, b"a question");
    let part = |offset: u64, length, is_written| Part { address: dma.address() + offset, length, is_written };
    // Long enough that the counts run over.
    for round in 0..40_000u32 {
        let slot = (round % 2) as u16;
        let parts = [part(0, 4, false), part(4, 6, false), part(10, 100, true), part(110, 200, true)];
        assert!(queue.push(slot, parts.into_iter()));
        assert!(fake.take(0).is_none(), "not published yet");
        assert!(queue.publish());
        bell.ring();
        let chain = fake.take(0).unwrap();
        assert_eq!((chain.bytes().as_slice(), chain.writable.len()), (&b"a question"[..], 2));
        assert!(!queue.has_used());
        fake.give(0, chain.head.into(), chain.write(&[round as u8; 150]));
        assert_eq!(queue.pop(), Some(Used::Slot { slot, written: 150 }));
        let value = round as u8;
        assert_eq!((dma.read8(10), dma.read8(159), dma.read8(160)), (value, value, 0));
    }
    assert_eq!(fake.lock().doorbells.len(), 40_000);
}
