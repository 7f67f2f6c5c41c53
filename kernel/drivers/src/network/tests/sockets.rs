// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections and datagrams between two interfaces.

use std::{net::Ipv4Addr, sync::Arc};

use super::{End, ONE, TWO, fixed, work};
use crate::network::{
    NetworkError,
    interface::Interface,
    sockets::{Buffers, Phase, Stream},
};

fn buffers() -> Buffers {
    [vec![0; 8192], vec![0; 8192]]
}

fn two() -> (Arc<Interface>, Arc<Interface>) {
    let (one, two) = End::pair();
    (
        Interface::new("eth0", one, fixed("10.0.2.15/24"), 1, 0),
        Interface::new("eth0", two, fixed("10.0.2.16/24"), 2, 0),
    )
}

fn connected(first: &Arc<Interface>, second: &Arc<Interface>) -> (Stream, Stream) {
    let server = second.wait_at(80, buffers()).unwrap();
    let client = first.connect(40000, (TWO, 80), buffers()).unwrap();
    let is_open = |interface: &Interface, stream| interface.status(stream).phase == Phase::Open;
    assert!(work(&[first, second], 3000, || is_open(first, &client) && is_open(second, &server)).is_some());
    assert_eq!(second.status(&server).remote, Some((ONE, 40000)));
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
fn nobody_listens() {
    let (first, second) = two();
    let client = first.connect(40000, (TWO, 81), buffers()).unwrap();
    assert_eq!(first.status(&client).phase, Phase::Begins);
    assert!(work(&[&first, &second], 3000, || first.status(&client).phase == Phase::Over).is_some());
    let far = Ipv4Addr::new(8, 8, 8, 8);
    assert_eq!(first.connect(40000, (far, 80), buffers()).unwrap_err(), NetworkError::Unreachable);
}

#[test]
fn who_comes_while_all_that_wait_are_taken_is_not_refused() {
    let (first, second) = two();
    second.begin_to_wait_at(80).unwrap();
    let _taken = connected(&first, &second);
    let late = first.connect(40001, (TWO, 80), buffers()).unwrap();
    assert!(work(&[&first, &second], 300, || first.status(&late).phase != Phase::Begins).is_none());
    let another = second.wait_at(80, buffers()).unwrap();
    // Sent again after a second.
    assert!(work(&[&first, &second], 5000, || second.status(&another).phase == Phase::Open).is_some());
    second.end_waiting_at(80);
    let later = first.connect(40002, (TWO, 80), buffers()).unwrap();
    assert!(work(&[&first, &second], 3000, || first.status(&later).phase == Phase::Over).is_some());
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
    let (one, two) = (first.open_port(5000, buffers()).unwrap(), second.open_port(53, buffers()).unwrap());
    first.send_datagram(&one, (TWO, 53), b"question").unwrap();
    let mut bytes = [0; 20];
    let mut got = None;
    assert!(
        work(&[&first, &second], 3000, || {
            got = second.receive_datagram(&two, &mut bytes);
            got.is_some()
        })
        .is_some()
    );
    assert_eq!(got, Some((8, (ONE, 5000))));
    assert_eq!(&bytes[..8], b"question");
    assert_eq!(first.send_datagram(&one, (TWO, 53), &[0; 9000]), Err(NetworkError::TooLong));
    first.close_port(one);
    second.close_port(two);
}

#[test]
fn an_interface_has_so_many_sockets_and_no_more() {
    let (first, _second) = two();
    let small = || [vec![0; 64], vec![0; 64]];
    let ports: Vec<_> = (1..1000).map_while(|port| first.open_port(port, small()).ok()).collect();
    assert!((200..257).contains(&ports.len()), "{}", ports.len());
    assert_eq!(first.wait_at(80, small()).unwrap_err(), NetworkError::QueueFull);
}
