// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests for connections from machines that do not exist.

use std::net::Ipv4Addr;

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, Ipv4Packet,
        Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    },
};

use super::{
    End, MS, ONE, TWO, fixed,
    sockets::{Owner, SIZE, SIZES, two},
};
use crate::network::{
    Direction,
    interface::Interface,
    sockets::{Phase, Remote},
};

/// A segment without bytes, from one place to another.
pub(super) fn segment(
    [from_mac, to_mac]: [[u8; 6]; 2],
    from: Remote,
    to: Remote,
    control: TcpControl,
    [number, acknowledged]: [i32; 2],
) -> Vec<u8> {
    let sums = ChecksumCapabilities::default();
    let tcp = TcpRepr {
        src_port: from.1,
        dst_port: to.1,
        control,
        seq_number: TcpSeqNumber(number),
        ack_number: (control != TcpControl::Syn).then_some(TcpSeqNumber(acknowledged)),
        window_len: 65000,
        window_scale: (control == TcpControl::Syn).then_some(7),
        max_seg_size: (control == TcpControl::Syn).then_some(1460),
        sack_permitted: control == TcpControl::Syn,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = Ipv4Repr {
        src_addr: from.0,
        dst_addr: to.0,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(from_mac),
        dst_addr: EthernetAddress(to_mac),
        ethertype: EthernetProtocol::Ipv4,
    };
    let mut frame = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    let mut link = EthernetFrame::new_unchecked(&mut frame);
    ethernet.emit(&mut link);
    let mut packet = Ipv4Packet::new_unchecked(link.payload_mut());
    ip.emit(&mut packet, &sums);
    let (from, to) = (IpAddress::Ipv4(from.0), IpAddress::Ipv4(to.0));
    tcp.emit(&mut TcpPacket::new_unchecked(packet.payload_mut()), &from, &to, &sums);
    frame
}

/// From anywhere, the own network, too.
fn forged(n: u32) -> Remote {
    let address = if n % 3 == 0 {
        0x0a00_0200 | (n % 250) | 1
    } else {
        n.wrapping_mul(0x9e37_79b9) & 0x3fff_ffff | 0x0100_0000
    };
    (Ipv4Addr::from_bits(address), 1024 + (n % 60000) as u16)
}

#[test]
fn a_flood_of_requests_lets_a_real_client_in() {
    let (one, two) = End::pair();
    let first = Interface::new("eth0", one.clone(), fixed("10.0.2.15/24"), 1, 0);
    let second = Interface::new("eth0", two.clone(), fixed("10.0.2.16/24"), 2, 0);
    let owner = Owner::of(&[80]);
    let (mut clients, mut most, mut sent) = (Vec::new(), 0, 0);
    for n in 0..100_000_u32 {
        // A hundred in a millisecond, and between them the client's.
        let now = u64::from(n) * MS / 100;
        two.put(&segment(
            [[2, 9, 9, 9, 9, 9], two.address],
            forged(n),
            (TWO, 80),
            TcpControl::Syn,
            [n as i32, 0],
        ));
        if n % 10_000 == 5_000 {
            clients.push(first.connect(40_000 + (n / 10_000) as u16, (TWO, 80), SIZES, 60, 1).unwrap());
        }
        if n % 8 == 0 {
            second.poll(now);
            owner.serve(&second, now);
            first.poll(now);
            while let Some(arrived) = first.arrived() {
                drop(arrived);
            }
            // Those who do not exist hear nothing; the first does not answer for them.
            most = most.max(second.half_open());
            sent = two.counters.of(Direction::Out).frames;
        }
    }
    assert_eq!(clients.len(), 10);
    assert!(clients.iter().all(|client| first.status(client).phase == Phase::Open), "all are in");
    assert_eq!(owner.made.borrow().len(), 10);
    assert!((200..=256).contains(&most), "{most} half open");
    let (cost, count) = second.cost();
    assert!(count == 10 && cost < 11 * (2 * SIZE + 4096), "{cost} for {count}");
    assert!(sent <= 110_000, "one answer for each: {sent}");
    // It is forgotten by and by.
    for second_s in 0..60 {
        let now = (1000 + second_s * 1000) * MS;
        (0..200).for_each(|_| {
            second.poll(now);
        });
    }
    assert_eq!(second.half_open(), 0);
}

#[test]
fn a_flood_to_many_ports_is_bounded_for_all_of_them() {
    let (_first, _) = two();
    let (_one, two) = End::pair();
    let second = Interface::new("eth0", two.clone(), fixed("10.0.2.16/24"), 2, 0);
    let owner = Owner { ports: (1..=1000).collect(), ..Owner::default() };
    for n in 0..20_000_u32 {
        let port = 1 + (n % 1000) as u16;
        two.put(&segment([[2; 6], two.address], forged(n), (TWO, port), TcpControl::Syn, [7, 0]));
        second.poll(u64::from(n) * MS / 100);
        owner.serve(&second, u64::from(n) * MS / 100);
    }
    assert_eq!(second.half_open(), 4096);
}

#[test]
fn acknowledgements_that_are_guessed_open_nothing() {
    let (_one, two) = End::pair();
    let second = Interface::new("eth0", two.clone(), fixed("10.0.2.16/24"), 2, 0);
    let owner = Owner::of(&[80]);
    let macs = [[2, 0, 0, 0, 0, 1], two.address];
    let put = |control, numbers| {
        two.put(&segment(macs, (ONE, 5000), (TWO, 80), control, numbers));
        second.poll(MS);
        owner.serve(&second, MS);
        second.poll(MS);
    };
    put(TcpControl::Syn, [1000, 0]);
    for guess in 0..1000 {
        put(TcpControl::None, [1001, guess * 2_000_003]);
    }
    put(TcpControl::Rst, [1001, 0]);
    assert_eq!((second.half_open(), owner.made.borrow().len()), (1, 0));
    assert_eq!(second.cost(), (0, 0));
}
