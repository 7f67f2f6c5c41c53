// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transport and its queues against a device that tests make up.

use std::{iter, sync::Arc};

use exo_platform::{
    Dma, Segment,
    pci::{Address, Function, Identity},
};

use super::{
    FEATURE_VERSION_1, Transport, VENDOR,
    fake::{FakeVirtio, Kind},
    queue::{Broken, Queue, SIZE_MAX, Used},
    status,
};
use crate::DriverError;

fn kind() -> Kind {
    Kind {
        features: FEATURE_VERSION_1 | 0b1010,
        queue_sizes: vec![8, 300],
        config: vec![1, 2, 3, 4],
        vectors: 3,
    }
}

fn device(kind: Kind) -> (Arc<FakeVirtio>, Function) {
    let fake = Arc::new(FakeVirtio::new(kind));
    let identity = Identity {
        vendor: VENDOR,
        device: 0x1041,
        revision: 1,
        class: 2,
        subclass: 0,
        interface: 0,
        subsystem_vendor: VENDOR,
        subsystem: 1,
    };
    let address = Address { segment: 0, bus: 0, device: 4, function: 0 };
    let function = Function::fake(address, identity, fake.clone(), fake.wires.clone());
    (fake, function)
}

/// A device with queue 0 set up and running.
fn running() -> (Arc<FakeVirtio>, Transport, Queue) {
    let (fake, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    transport.negotiate(0b0010).unwrap();
    let queue = Queue::new(transport.queue_size(0), None).unwrap();
    transport.set_up(0, &queue, Some(1)).unwrap();
    transport.start();
    (fake, transport, queue)
}

fn segments(dma: &Dma, lengths: &[u32]) -> Vec<Segment> {
    let mut at = dma.address();
    lengths
        .iter()
        .map(|&length| {
            at += u64::from(length);
            Segment { address: at - u64::from(length), length }
        })
        .collect()
}

#[test]
fn features_are_those_that_both_have() {
    let (fake, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    assert_eq!(transport.negotiate(0b0110).unwrap(), FEATURE_VERSION_1 | 0b0010);
    assert_eq!(fake.lock().agreed, FEATURE_VERSION_1 | 0b0010);
    assert!(!fake.is_running());
    assert_eq!((transport.queue_count(), transport.queue_size(1), transport.queue_size(2)), (2, 300, 0));
    assert_eq!(transport.config(|registers| registers.read32(0)).unwrap(), 0x0403_0201);
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
    assert!(matches!(transport.config(|_| ()), Err(DriverError::Device(_))));
    let (fake, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    fake.lock().absent = true;
    assert_eq!(transport.reset(), Err(DriverError::Removed));
    assert!(!transport.is_there() && transport.queue_count() == 0 && transport.queue_size(0) == 0);
    assert!(Transport::new(&function).is_err());
}

#[test]
fn a_device_that_never_resets_is_given_up() {
    let (fake, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    transport.negotiate(0).unwrap();
    fake.lock().never_resets = true;
    assert_eq!(transport.reset(), Err(DriverError::TimedOut("a reset")));
}

#[test]
fn a_vector_that_the_device_has_no_room_for_is_an_error() {
    let (_, function) = device(kind());
    let transport = Transport::new(&function).unwrap();
    transport.negotiate(0).unwrap();
    let queue = Queue::new(8, None).unwrap();
    assert!(transport.set_up(0, &queue, Some(3)).is_err());
    assert!(transport.set_up(0, &queue, None).is_ok());
}

#[test]
fn chains_go_to_the_device_and_come_back() {
    let (fake, transport, mut queue) = running();
    let bell = transport.set_up(0, &queue, Some(1)).unwrap();
    let dma = Dma::new(4096, 4096, None).unwrap();
    dma.write_bytes(0, b"a question");
    let parts = segments(&dma, &[4, 6, 100, 200]);
    let head = queue.add(parts[..2].iter().copied(), parts[2..].iter().copied()).unwrap();
    assert!(fake.take(0).is_none(), "not published yet");
    assert!(queue.publish());
    bell.ring();
    assert_eq!(fake.lock().doorbells, [0]);
    let chain = fake.take(0).unwrap();
    assert_eq!((chain.bytes().as_slice(), chain.writable.len()), (&b"a question"[..], 2));
    assert_eq!(queue.take(), Ok(None));
    fake.give(0, chain.head.into(), chain.write(&[7; 150]));
    assert_eq!(queue.take(), Ok(Some(Used { head, written: 150 })));
    assert_eq!(queue.room(), 8);
    assert_eq!((dma.read8(10), dma.read8(159), dma.read8(160)), (7, 7, 0));
}

#[test]
fn a_full_queue_takes_nothing_more_until_something_comes_back() {
    let (fake, _transport, mut queue) = running();
    let dma = Dma::new(4096, 4096, None).unwrap();
    let one = || segments(&dma, &[8]).into_iter();
    let three = || segments(&dma, &[8, 8, 8]).into_iter();
    assert!(queue.add(three(), iter::empty()).is_some());
    assert!(queue.add(iter::empty(), three()).is_some());
    assert_eq!(queue.add(three(), iter::empty()), None, "two are left");
    assert_eq!(queue.room(), 2, "and nothing of it was kept");
    assert!(queue.add(one(), one()).is_some());
    assert_eq!(queue.add(one(), iter::empty()), None);
    assert_eq!(queue.add(iter::empty(), iter::empty()), None, "nothing is no chain");
    // For a long time: the counts run over, and chains come back in another order.
    let mut seen = 0u32;
    for round in 0..70_000u32 {
        let _ = queue.publish();
        let mut chains: Vec<_> = iter::from_fn(|| fake.take(0)).collect();
        if round % 2 == 0 {
            chains.reverse();
        }
        for chain in chains {
            fake.give(0, chain.head.into(), 0);
        }
        while let Some(used) = queue.take().unwrap() {
            seen += 1;
            assert!(used.head < 8);
        }
        assert_eq!((queue.room(), queue.outstanding()), (8, 0));
        assert!(queue.add(one(), one()).is_some() && queue.add(three(), one()).is_some());
    }
    assert_eq!(seen, 3 + 2 * 69_999);
}

#[test]
fn doorbells_and_interrupts_are_left_out_where_nobody_wants_them() {
    let (fake, _transport, mut queue) = running();
    let dma = Dma::new(64, 64, None).unwrap();
    let one = || segments(&dma, &[8]).into_iter();
    assert!(!queue.publish(), "nothing new");
    fake.set_quiet(0, true);
    queue.add(one(), iter::empty()).unwrap();
    assert!(!queue.publish());
    queue.want_interrupts(false);
    let chain = fake.take(0).unwrap();
    fake.give(0, chain.head.into(), 0);
    assert_eq!(fake.lock().interrupt_status, 0);
    queue.want_interrupts(true);
    assert!(queue.has_used());
    queue.add(one(), iter::empty()).unwrap();
    let _ = queue.publish();
    let chain = fake.take(0).unwrap();
    fake.give(0, chain.head.into(), 0);
    assert_eq!(fake.lock().interrupt_status, 1);
}

#[test]
fn what_a_device_gives_back_without_having_it_breaks_the_queue() {
    let spoilers: [fn(&FakeVirtio, u16); 5] = [
        |fake, _| fake.give(0, 5, 0),
        |fake, _| fake.give(0, 8, 0),
        |fake, _| fake.give(0, u32::MAX, 0),
        |fake, _| fake.set_given(0, 3),
        |fake, _| fake.set_given(0, u16::MAX),
    ];
    for spoil in spoilers {
        let (fake, _transport, mut queue) = running();
        let dma = Dma::new(64, 64, None).unwrap();
        let head = queue.add(segments(&dma, &[8, 8]).into_iter(), iter::empty()).unwrap();
        let _ = queue.publish();
        spoil(&fake, head);
        assert_eq!(queue.take(), Err(Broken));
        assert!(queue.is_broken() && !queue.has_used());
        assert_eq!(queue.take(), Err(Broken), "for good");
        queue.reset();
        assert_eq!((queue.take(), queue.room()), (Ok(None), 8), "but for a reset");
    }
    // The same chain twice.
    let (fake, _transport, mut queue) = running();
    let dma = Dma::new(64, 64, None).unwrap();
    let head = queue.add(segments(&dma, &[8]).into_iter(), iter::empty()).unwrap();
    queue.add(segments(&dma, &[8]).into_iter(), iter::empty()).unwrap();
    let _ = queue.publish();
    fake.give(0, head.into(), 0);
    fake.give(0, head.into(), 0);
    assert!(queue.take().is_ok());
    assert_eq!(queue.take(), Err(Broken));
}

#[test]
fn sizes_are_powers_of_two_within_limits() {
    for (largest, size) in [(1, 1), (3, 2), (255, 128), (256, 256), (32768, SIZE_MAX)] {
        assert_eq!(Queue::new(largest, None).unwrap().size(), size);
    }
    assert!(Queue::new(0, None).is_err());
}
