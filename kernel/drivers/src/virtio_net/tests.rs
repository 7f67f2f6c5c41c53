// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver against a card that these tests make up, well-behaved and not.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use exo_platform::{
    fake::dma::stray_accesses,
    pci::{Config as _, register},
};

use super::{VIRTIO_NET, VirtioNet};
use crate::{
    Driver, DriverError,
    bus::Found,
    network::{
        Direction, FRAME_MAX, FrameListener, NetworkDevice, NetworkError,
        interface::{Interface, Setup},
    },
    virtio::{
        fake::{FakeVirtio, Kind},
        feature::{EVENT_INDEX, VERSION_1},
    },
};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

fn kind() -> Kind {
    let mut config = MAC.to_vec();
    config.extend([1, 0]);
    Kind {
        features: VERSION_1 | (1 << 5) | (1 << 16) | (1 << 15) | EVENT_INDEX,
        queue_sizes: vec![16, 8, 4],
        config,
        vectors: 3,
    }
}

fn card(kind: Kind) -> (Arc<FakeVirtio>, Arc<VirtioNet>) {
    let fake = Arc::new(FakeVirtio::new(kind));
    let function = fake.function();
    (fake, VirtioNet::new(&function))
}

fn started() -> (Arc<FakeVirtio>, Arc<VirtioNet>) {
    let (fake, card) = card(kind());
    card.init().unwrap();
    assert!(card.is_ready() && fake.is_running());
    (fake, card)
}

/// A frame comes down the wire.
fn arrive(fake: &FakeVirtio, frame: &[u8]) -> bool {
    let Some(chain) = fake.take(0) else { return false };
    let mut bytes = vec![0; 12];
    bytes.extend(frame);
    let written = chain.write(&bytes);
    fake.give(0, chain.head.into(), written);
    true
}

/// The card sends what is in its queue.
fn send(fake: &FakeVirtio) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| fake.take(1))
        .map(|chain| {
            let bytes = chain.bytes();
            fake.give(1, chain.head.into(), 0);
            assert_eq!(bytes[..12], [0; 12], "nothing is asked for");
            bytes[12..].to_vec()
        })
        .collect()
}

#[derive(Default)]
struct Heard(AtomicUsize);

impl FrameListener for Heard {
    fn happened(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_card_has_an_address_and_a_wire() {
    let (fake, card) = started();
    assert_eq!((card.hardware_address(), card.mtu()), (Some(MAC), 1500));
    assert!(card.is_connected());
    assert_eq!(fake.lock().agreed, VERSION_1 | (1 << 5) | (1 << 16) | EVENT_INDEX);
    assert_eq!(card.devices().len(), 1);
    let (_, unplugged) = {
        let mut kind = kind();
        kind.config[6] = 0;
        let (fake, other) = self::card(kind);
        other.init().unwrap();
        (fake, other)
    };
    assert!(!unplugged.is_connected());
}

#[test]
fn frames_come_in_whole_and_in_order_and_their_buffers_are_used_again() {
    let (fake, card) = started();
    let heard = Arc::new(Heard::default());
    card.listen(heard.clone());
    let mut frame = Vec::new();
    assert!(!card.receive(&mut frame));
    for number in 0..1000usize {
        let sent = vec![number as u8; 14 + number % (FRAME_MAX - 13)];
        assert!(arrive(&fake, &sent), "no buffer");
        fake.wires.deliver();
        assert!(card.receive(&mut frame) && frame == sent, "frame {number}");
        // Who has seen that there is no more is told of the next.
        assert!(!card.receive(&mut frame));
    }
    assert_eq!(heard.0.load(Ordering::Relaxed), 1000);
    assert_eq!(card.counters().of(Direction::In).frames, 1000);
    // As many as there are buffers may come at once.
    assert_eq!((0..100).take_while(|_| arrive(&fake, &[1; 60])).count(), 16);
    assert_eq!((0..100).take_while(|_| card.receive(&mut frame)).count(), 16);
}

#[test]
fn frames_go_out_whole_and_in_order() {
    let (fake, card) = started();
    let mut sent = Vec::new();
    for number in 0..100usize {
        let frame = vec![number as u8; 14 + number * 15 % (FRAME_MAX - 13)];
        card.transmit(&frame).unwrap();
        sent.push(frame);
        if number % 4 == 3 {
            card.flush();
            assert_eq!(send(&fake), sent.split_off(0));
        }
    }
    // One for all that wait, and one more for those that it can begin with when half of the queue is in use.
    let rung = fake.lock().doorbells.iter().filter(|queue| **queue == 1).count();
    assert!((25..=50).contains(&rung), "{rung}");
    assert_eq!(fake.wires.deliver(), 0, "what was sent is no news");
    assert_eq!(card.transmit(&vec![0; FRAME_MAX + 1]), Err(NetworkError::TooLong));
}

#[test]
fn a_full_queue_drops_frames_and_says_so() {
    let (fake, card) = started();
    assert!(card.has_room());
    let results: Vec<_> = (0..10).map(|_| card.transmit(&[0; 60])).collect();
    assert!(!card.has_room());
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 8);
    assert_eq!(results[9], Err(NetworkError::QueueFull));
    assert_eq!(card.counters().of(Direction::Out).dropped, 2);
    card.flush();
    assert_eq!(send(&fake).len(), 8);
    assert!(card.has_room());
    assert!(card.transmit(&[0; 60]).is_ok());
}

#[test]
fn lengths_that_cannot_be_are_errors_of_that_frame() {
    let (fake, card) = started();
    let mut frame = Vec::new();
    for written in [0, 11, 12, 25, 12 + 1515, 2048, 2049, u32::MAX] {
        let chain = fake.take(0).unwrap();
        fake.give(0, chain.head.into(), written);
        assert!(!card.receive(&mut frame), "{written} bytes");
    }
    assert_eq!(card.counters().of(Direction::In).errors, 8);
    assert!(arrive(&fake, &[5; 60]) && card.receive(&mut frame) && frame == [5; 60]);
}

#[test]
fn a_card_that_gives_back_what_it_does_not_have_is_not_used_any_more() {
    for (queue, head) in [(0, 99), (0, u32::MAX), (1, 0)] {
        let (fake, card) = started();
        card.transmit(&[0; 60]).unwrap();
        fake.give(queue, head, 60);
        assert!(!card.receive(&mut Vec::new()));
        // Of what it gives back it is asked when half of the buffers are in use.
        let gone = (0..5).try_for_each(|_| card.transmit(&[0; 60])).err();
        assert_eq!(gone, Some(NetworkError::Gone), "queue {queue}, head {head}");
        assert!(!card.is_ready() && !card.is_connected());
        card.shutdown().unwrap();
    }
}

#[test]
fn a_count_that_is_far_ahead_ends_in_errors_and_no_hang() {
    for given in [3, 17, 0x7fff, u16::MAX] {
        let (fake, card) = started();
        fake.set_given(0, given);
        assert!(!card.receive(&mut Vec::new()));
        assert!(card.counters().of(Direction::In).errors > 0, "{given}");
    }
}

#[test]
fn a_card_that_goes_takes_nothing_with_it() {
    let (fake, card) = started();
    let heard = Arc::new(Heard::default());
    card.listen(heard.clone());
    let strays = stray_accesses();
    fake.lock().absent = true;
    assert!(!card.is_ready() && !card.is_connected());
    card.removed();
    assert_eq!(heard.0.load(Ordering::Relaxed), 1);
    assert_eq!(card.transmit(&[0; 60]), Err(NetworkError::Gone));
    assert_eq!(card.shutdown(), Err(DriverError::Removed));
    drop(card);
    // It was on its way out, and still writes.
    fake.lock().absent = false;
    assert!(arrive(&fake, &[1; 60]));
    assert_eq!(stray_accesses(), strays);
}

#[test]
fn a_card_that_was_shut_down_starts_again() {
    let (fake, card) = started();
    card.transmit(&[0; 60]).unwrap();
    card.shutdown().unwrap();
    assert!(!fake.is_running() && card.devices().is_empty());
    assert_eq!(card.transmit(&[0; 60]), Err(NetworkError::Gone));
    card.init().unwrap();
    assert!(arrive(&fake, &[1; 60]) && card.receive(&mut Vec::new()));
    card.transmit(&[7; 60]).unwrap();
    card.flush();
    assert_eq!(send(&fake), [[7; 60]]);
}

#[test]
fn a_card_without_queues_is_not_started() {
    let (_, card) = card(Kind { queue_sizes: vec![16], ..kind() });
    assert!(matches!(card.init(), Err(DriverError::Device(_))));
    assert!(card.devices().is_empty() && !card.is_ready());
}

#[test]
fn two_cards_on_one_wire_ping_each_other() {
    let ((one, first), (two, second)) = (started(), started());
    let address = |last| Setup::Fixed { address: Ipv4Addr::new(10, 0, 0, last), prefix: 24, gateway: None };
    let (a, b) = (
        Interface::new("eth0", first.clone(), address(1), 1, 0),
        Interface::new("eth0", second, address(2), 2, 0),
    );
    a.ping(Ipv4Addr::new(10, 0, 0, 2), 0).unwrap();
    let answered = (1..3000u64).any(|ms| {
        a.poll(ms * 1_000_000);
        send(&one).iter().for_each(|frame| assert!(arrive(&two, frame)));
        b.poll(ms * 1_000_000);
        send(&two).iter().for_each(|frame| assert!(arrive(&one, frame)));
        a.last_ping().unwrap().answered.is_some()
    });
    // Both cards have the same address on the Ethernet here, which disturbs nobody on a wire of two.
    assert!(answered && first.counters().of(Direction::In).frames >= 2);
}

#[test]
fn a_card_that_is_declined_is_left_as_it_was() {
    let fake = Arc::new(FakeVirtio::new(kind()));
    let function = fake.function();
    let command = || function.config().read16(register::COMMAND);
    let before = command();
    fake.lock().absent = true;
    assert!((VIRTIO_NET.probe)(&Found::Pci(function.clone())).is_err());
    fake.lock().absent = false;
    assert_eq!(command(), before);
    assert!((VIRTIO_NET.probe)(&Found::Pci(function.clone())).is_ok());
}

#[test]
fn a_card_whose_address_is_no_single_cards_is_not_started() {
    for first in [0x53, 0xff] {
        let mut kind = kind();
        kind.config[..6].copy_from_slice(&[first; 6]);
        let (_, card) = card(kind);
        assert!(matches!(card.init(), Err(DriverError::Device(_))));
        assert!(!card.is_ready());
    }
}
