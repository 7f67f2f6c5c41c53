// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs' own pings between two interfaces.

use std::net::Ipv4Addr;

use super::{End, ONE, TWO, fixed, work};
use crate::network::{NetworkError, interface::Interface};

/// An echo request with its checksums, from the first end to an address.
fn echo(to: Ipv4Addr, ttl: u8) -> Vec<u8> {
    let sum = |bytes: &[u8]| {
        let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
    };
    let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0x40, 0, ttl, 1, 0, 0];
    packet.extend(ONE.octets());
    packet.extend(to.octets());
    let header = sum(&packet);
    packet[10..12].copy_from_slice(&header);
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g'];
    let whole = sum(&message);
    message[2..4].copy_from_slice(&whole);
    packet.extend(message);
    packet
}

#[test]
fn a_packet_is_sent_as_it_is_and_its_answer_comes_with_its_header() {
    let (one, two) = End::pair();
    let first = Interface::new("eth0", one, fixed("10.0.2.15/24"), 1, 0);
    let second = Interface::new("eth0", two, fixed("10.0.2.16/24"), 2, 0);
    let pings = first.open_pings([vec![0; 4096], vec![0; 4096]]).unwrap();
    let others = second.open_pings([vec![0; 4096], vec![0; 4096]]).unwrap();
    first.send_packet(&pings, TWO, &echo(TWO, 7)).unwrap();
    let (mut answer, mut length) = ([0; 100], None);
    let came = work(&[&first, &second], 3000, || {
        length = first.receive_packet(&pings, &mut answer);
        length.is_some()
    });
    assert!(came.is_some());
    assert_eq!(length, Some(32));
    assert_eq!((answer[0], answer[9]), (0x45, 1));
    assert_eq!((&answer[12..16], &answer[16..20]), (&TWO.octets()[..], &ONE.octets()[..]));
    assert_eq!((answer[20], &answer[24..32]), (0, &b"\x12\x34\0\x01ping"[..]));
    // The other one has seen the request, with its time to live.
    let mut request = [0; 10];
    assert_eq!(second.receive_packet(&others, &mut request), Some(32));
    assert_eq!(request[8], 7);
    assert_eq!(second.receive_packet(&others, &mut request), None);
    first.close_pings(pings);
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let (one, _) = End::pair();
    let interface = Interface::new("eth0", one, fixed("10.0.2.15/24"), 1, 0);
    let pings = interface.open_pings([vec![0; 4096], vec![0; 4096]]).unwrap();
    let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
    let send = |to, packet: &[u8]| interface.send_packet(&pings, to, packet);
    assert_eq!(send(elsewhere, &echo(elsewhere, 64)), Err(NetworkError::Unreachable));
    assert_eq!(send(TWO, &[0; 1501]), Err(NetworkError::TooLong));
    while send(TWO, &echo(TWO, 64)).is_ok() {}
    assert_eq!(send(TWO, &echo(TWO, 64)), Err(NetworkError::QueueFull));
}
