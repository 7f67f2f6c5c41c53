// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections and datagrams between two interfaces.

use std::{cell::RefCell, net::Ipv4Addr, sync::Arc};

use super::{End, MS, ONE, TWO, fixed, work};
use crate::network::{
    Answer, Arrived, NetworkError,
    interface::Interface,
    sockets::{Phase, Remote, Stream},
};

pub(super) const SIZE: usize = 8192;
pub(super) const SIZES: [usize; 2] = [SIZE, SIZE];

pub(super) fn two() -> (Arc<Interface>, Arc<Interface>) {
    let (one, two) = End::pair();
    (
        Interface::new("eth0", one, fixed("10.0.2.15/24"), 1, 0),
        Interface::new("eth0", two, fixed("10.0.2.16/24"), 2, 0),
    )
}

/// What an interface's owner does about what comes.
#[derive(Default)]
pub(super) struct Owner {
    /// Where it listens.
    pub(super) ports: Vec<u16>,
    /// Connections that were made there, and who has connected.
    pub(super) made: RefCell<Vec<(Stream, Remote)>>,
    pub(super) datagrams: RefCell<Vec<(Vec<u8>, Remote, Remote)>>,
    /// It takes no more connections.
    pub(super) is_full: RefCell<bool>,
}

impl Owner {
    pub(super) fn of(ports: &[u16]) -> Self {
        Self { ports: ports.to_vec(), ..Self::default() }
    }

    pub(super) fn serve(&self, interface: &Interface, now: u64) {
        while let Some(arrived) = interface.arrived() {
            match arrived {
                Arrived::Opens(it) | Arrived::Completes(it) if !self.ports.contains(&it.to().1) => {
                    interface.refuse(it, now);
                }
                Arrived::Opens(it) => {
                    let seed = now ^ (u64::from(it.from().1) << 40) ^ u64::from(it.from().0.to_bits());
                    interface.answer(&it, Answer { seed, receive: SIZE, most: 256 }, now);
                }
                Arrived::Completes(_) if *self.is_full.borrow() => {}
                Arrived::Completes(it) => {
                    let from = it.from();
                    if let Ok(stream) = interface.establish(it, SIZE, 7, now) {
                        self.made.borrow_mut().push((stream, from));
                    }
                }
                Arrived::Datagram(it) if self.ports.contains(&it.to().1) => {
                    let (from, to) = (it.from(), it.to());
                    self.datagrams.borrow_mut().push((it.into_bytes(), from, to));
                }
                Arrived::Datagram(it) => interface.refuse_datagram(it, now),
            }
        }
    }
}

/// Lets both work, the second with an owner, until something happens.
pub(super) fn work_with(
    first: &Interface,
    second: &Interface,
    owner: &Owner,
    most_ms: u64,
    happens: impl FnMut() -> bool,
) -> Option<u64> {
    work_from(0, first, second, owner, most_ms, happens)
}

/// The same from a time on, in milliseconds.
pub(super) fn work_from(
    start_ms: u64,
    first: &Interface,
    second: &Interface,
    owner: &Owner,
    most_ms: u64,
    mut happens: impl FnMut() -> bool,
) -> Option<u64> {
    (start_ms..start_ms + most_ms).find(|ms| {
        let now = ms * MS;
        first.poll(now);
        while first.arrived().is_some() {}
        first.poll(now);
        second.poll(now);
        owner.serve(second, now);
        second.poll(now);
        happens()
    })
}

pub(super) fn connected(first: &Interface, second: &Interface) -> (Stream, Stream) {
    connected_from(0, first, second, 40000)
}

pub(super) fn connected_from(
    start_ms: u64,
    first: &Interface,
    second: &Interface,
    port: u16,
) -> (Stream, Stream) {
    let owner = Owner::of(&[80]);
    let client = first.connect(port, (TWO, 80), SIZES, 60, 1).unwrap();
    let is_open = || first.status(&client).phase == Phase::Open && !owner.made.borrow().is_empty();
    assert!(work_from(start_ms, first, second, &owner, 3000, is_open).is_some());
    let (server, remote) = owner.made.borrow_mut().pop().unwrap();
    assert_eq!(remote, (ONE, port));
    assert_eq!(second.status(&server).phase, Phase::Open);
    (client, server)
}

#[test]
fn bytes_go_both_ways_and_the_end_is_heard() {
    let (first, second) = two();
    let (client, server) = connected(&first, &second);
    let all: Vec<_> = (0..50_000_u32).map(|n| (n * 7 / 3) as u8).collect();
    let (mut sent, mut received) = (0, Vec::new());
    let done = work(&[&first, &second], 30_000, || {
        if sent < all.len() {
            sent += first.send(&client, &all[sent..]).unwrap();
            if sent == all.len() {
                first.finish(&client);
            }
        }
        let mut bytes = [0; 3000];
        let count = second.receive(&server, &mut bytes, false);
        received.extend_from_slice(&bytes[..count]);
        let status = second.status(&server);
        status.is_finished && status.readable == 0
    });
    assert!(done.is_some());
    assert!(received == all);
    second.send(&server, b"answer").unwrap();
    assert!(work(&[&first, &second], 3000, || first.status(&client).readable == 6).is_some());
    let mut bytes = [0; 9];
    assert_eq!((first.receive(&client, &mut bytes, true), &bytes[..6]), (6, &b"answer"[..]));
    assert_eq!(first.receive(&client, &mut bytes, false), 6);
}

#[test]
fn a_small_segment_waits_for_another_to_be_acknowledged_unless_it_must_not() {
    for (waits, there) in [(true, 1), (false, 2)] {
        let (first, second) = two();
        let (client, server) = connected(&first, &second);
        first.set_delay(&client, waits);
        for byte in [b"a", b"b"] {
            first.send(&client, byte).unwrap();
            first.poll(4000 * MS);
        }
        second.poll(4000 * MS);
        assert_eq!(second.status(&server).readable, there);
    }
}

#[test]
fn nobody_listens() {
    let (first, second) = two();
    let client = first.connect(40000, (TWO, 81), SIZES, 60, 1).unwrap();
    assert_eq!(first.status(&client).phase, Phase::Begins);
    let owner = Owner::default();
    let is_over = || first.status(&client).phase == Phase::Over;
    assert!(work_with(&first, &second, &owner, 3000, is_over).is_some());
    let far = Ipv4Addr::new(8, 8, 8, 8);
    assert_eq!(first.connect(40000, (far, 80), SIZES, 60, 1).unwrap_err(), NetworkError::Unreachable);
    // Its place is free again, although it was not let go.
    first.connect(40000, (TWO, 81), SIZES, 60, 1).unwrap();
    assert_eq!(first.connect(40000, (TWO, 81), SIZES, 60, 1).unwrap_err(), NetworkError::InUse);
}

#[test]
fn who_is_not_answered_gives_up() {
    let (first, second) = two();
    let client = first.connect(40000, (TWO, 80), SIZES, 5, 1).unwrap();
    let is_over = || first.status(&client).phase == Phase::Over;
    // The second hears, and its owner does nothing.
    let after = work(&[&first, &second], 20_000, is_over).unwrap();
    assert!((5000..6500).contains(&(after / MS)), "{after}");
    assert!(std::iter::from_fn(|| first.changed()).any(|owner| owner == 1), "it is told");
}

#[test]
fn who_comes_while_nobody_can_take_it_is_not_refused() {
    let (first, second) = two();
    let owner = Owner::of(&[80]);
    *owner.is_full.borrow_mut() = true;
    let late = first.connect(40001, (TWO, 80), SIZES, 60, 1).unwrap();
    let is_open = || first.status(&late).phase == Phase::Open;
    assert!(work_with(&first, &second, &owner, 300, is_open).is_some(), "as far as it knows");
    first.send(&late, b"hello").unwrap();
    assert!(work_from(300, &first, &second, &owner, 300, || !owner.made.borrow().is_empty()).is_none());
    *owner.is_full.borrow_mut() = false;
    assert!(work_from(600, &first, &second, &owner, 5000, || !owner.made.borrow().is_empty()).is_some());
    let (server, _) = owner.made.borrow_mut().pop().unwrap();
    assert!(
        work_from(6000, &first, &second, &owner, 5000, || second.status(&server).readable == 5).is_some()
    );
}

#[test]
fn an_answer_that_is_lost_is_sent_again() {
    let (one, two) = End::pair();
    let first = Interface::new("eth0", one, fixed("10.0.2.15/24"), 1, 0);
    let second = Interface::new("eth0", two.clone(), fixed("10.0.2.16/24"), 2, 0);
    let owner = Owner::of(&[80]);
    // The other's hardware address is known before the cable breaks.
    let _known = connected(&first, &second);
    first.connect(40001, (TWO, 80), SIZES, 60, 1).unwrap();
    two.cut.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(work_from(3000, &first, &second, &owner, 5, || second.half_open() == 1).is_some());
    two.cut.store(false, std::sync::atomic::Ordering::Relaxed);
    // By its own timer, or as the question comes again.
    assert!(work_from(3005, &first, &second, &owner, 3000, || !owner.made.borrow().is_empty()).is_some());
}

#[test]
fn what_was_sent_arrives_also_when_its_sender_has_let_go() {
    let (first, second) = two();
    let (client, server) = connected(&first, &second);
    first.send(&client, b"last words").unwrap();
    first.let_go(client);
    assert!(work(&[&first, &second], 3000, || second.status(&server).is_finished).is_some());
    let mut bytes = [0; 20];
    assert_eq!(second.receive(&server, &mut bytes, false), 10);
    second.let_go(server);
    assert!(work(&[&first, &second], 3000, || first.is_quiet() && second.is_quiet()).is_some());
    assert_eq!((first.cost(), second.cost()), ((0, 0), (0, 0)), "nothing is left");
}

#[test]
fn a_broken_connection_is_over_on_both_sides() {
    let (first, second) = two();
    let (client, server) = connected(&first, &second);
    first.abort(&client);
    assert!(work(&[&first, &second], 3000, || second.status(&server).phase == Phase::Over).is_some());
    assert_eq!(second.send(&server, b"x"), Err(NetworkError::Gone));
}

#[test]
fn datagrams_find_their_port() {
    let (first, second) = two();
    let owner = Owner::of(&[53]);
    first.send_datagram(5000, (TWO, 53), b"question".to_vec(), 0).unwrap();
    let came = || !owner.datagrams.borrow().is_empty();
    assert!(
        work_with(&first, &second, &owner, 3000, came).is_some(),
        "although its receiver had to be looked for"
    );
    assert_eq!(owner.datagrams.borrow_mut().pop().unwrap(), (b"question".to_vec(), (ONE, 5000), (TWO, 53)));
    let long = vec![7; 1472];
    first.send_datagram(5000, (TWO, 53), long.clone(), 0).unwrap();
    second.poll(4000 * MS);
    owner.serve(&second, 4000 * MS);
    assert_eq!(owner.datagrams.borrow_mut().pop().unwrap().0, long, "at once");
    let too_long = vec![0; 1473];
    assert_eq!(first.send_datagram(5000, (TWO, 53), too_long, 0), Err(NetworkError::TooLong));
    let far = (Ipv4Addr::new(8, 8, 8, 8), 53);
    assert_eq!(first.send_datagram(5000, far, vec![1], 0), Err(NetworkError::Unreachable));
}

#[test]
fn datagrams_to_who_is_not_there_are_forgotten() {
    let (one, _two) = End::pair();
    let first = Interface::new("eth0", one, fixed("10.0.2.15/24"), 1, 0);
    for n in 1..100 {
        first.send_datagram(5000, (TWO, n), vec![1; 1000], 0).unwrap();
    }
    let mut next = Some(0);
    while let Some(now) = next.filter(|now| *now < 10_000 * MS) {
        next = first.poll(now);
    }
    assert_eq!(next, None, "nothing more is to be done");
}

#[test]
fn connections_cost_no_more_than_they_may() {
    let (first, _second) = two();
    first.limit_memory(1 << 20);
    let count = (1..1000).map_while(|port| first.connect(port, (TWO, 80), SIZES, 60, 1).ok()).count();
    let (cost, there) = first.cost();
    assert!(count > 40 && count == there && cost <= 1 << 20, "{count} for {cost}");
    assert_eq!(first.connect(2000, (TWO, 80), SIZES, 60, 1).unwrap_err(), NetworkError::QueueFull);
}

/// Sockets that are looked at for a hundred segments, beside so many connections that are idle.
fn looked_at_beside(idle: u16) -> u64 {
    let (first, second) = two();
    let others: Vec<_> = (0..idle).map(|n| connected_from(u64::from(n), &first, &second, 1000 + n)).collect();
    let start = u64::from(idle) + 1000;
    let (client, server) = connected_from(start, &first, &second, 999);
    let before = first.looked_at() + second.looked_at();
    let mut count = 0;
    work_from(start, &first, &second, &Owner::default(), 5000, || {
        first.send(&client, b"ping").unwrap();
        let mut bytes = [0; 100];
        count += usize::from(second.receive(&server, &mut bytes, false) > 0);
        count == 100
    })
    .expect("a hundred segments");
    assert_eq!(others.len(), usize::from(idle));
    first.looked_at() + second.looked_at() - before
}

#[test]
fn work_for_a_frame_does_not_grow_with_idle_connections() {
    let (few, many) = (looked_at_beside(10), looked_at_beside(1000));
    assert!(many <= few + few / 10, "{few} beside 10, {many} beside 1000");
}

#[test]
fn an_interface_that_ends_leaves_nothing_behind() {
    let (first, second) = two();
    let (client, server) = connected(&first, &second);
    first.connect(40001, (TWO, 80), SIZES, 60, 5).unwrap();
    first.send_datagram(9, (Ipv4Addr::new(10, 0, 2, 77), 9), vec![1], 0).unwrap();
    first.send(&client, b"never arrives").unwrap();
    while first.changed().is_some() {}
    first.end();
    let mut told: Vec<_> = std::iter::from_fn(|| first.changed()).collect();
    told.sort();
    assert_eq!(told, [1, 5]);
    assert_eq!(first.status(&client).phase, Phase::Over);
    assert_eq!(first.send(&client, b"x"), Err(NetworkError::Gone));
    assert_eq!((first.cost(), first.poll(5000 * MS)), ((0, 0), None));
    assert_eq!(first.connect(40002, (TWO, 80), SIZES, 60, 1).unwrap_err(), NetworkError::Unreachable);
    first.let_go(client);
    assert!(first.is_quiet());
    // The other side does not hear of it.
    assert_eq!(second.status(&server).phase, Phase::Open);
}
