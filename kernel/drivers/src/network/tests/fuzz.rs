// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames of all kinds, as they should be and not, at an interface that is at work: nothing panics, memory stays bounded, and a connection that has nothing
//! to do with them goes on. `EXO_FUZZ_SEED` repeats a run, whose seed is printed when it fails.

use std::{collections::VecDeque, net::Ipv4Addr};

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, EthernetAddress, EthernetFrame, EthernetProtocol,
        EthernetRepr, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr,
        TcpControl, TcpPacket, UdpPacket, UdpRepr,
    },
};

use super::{
    End, MS, ONE, ROUTER, TWO, asked, fixed,
    flood::segment,
    offer,
    sockets::{Owner, SIZE, SIZES, connected},
};
use crate::network::{
    interface::{Interface, Setup},
    sockets::{Phase, Remote, Stream},
};

/// The hardware address of the machines that send all that.
const THEIRS: [u8; 6] = [2, 0x66, 0, 0, 0, 1];
const IP: usize = 14;

/// Numbers without a pattern.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A segment that the interface has sent: from where to where, its number, what it acknowledges, and its length.
#[derive(Clone, Copy)]
struct Seen {
    own: Remote,
    theirs: Remote,
    number: i32,
    acknowledged: i32,
    length: i32,
}

struct Fuzzer {
    random: Random,
    to: [u8; 6],
    seen: VecDeque<Seen>,
}

/// Makes the checksums right that the headers speak of, as far as there are such.
fn mend(frame: &mut [u8]) {
    let is_ip = frame.get(12..14) == Some(&[8, 0]) && frame.len() >= IP + 20;
    if !is_ip {
        return;
    }
    let Ok(mut packet) = Ipv4Packet::new_checked(&mut frame[IP..]) else { return };
    if packet.header_len() < 20 {
        return;
    }
    packet.fill_checksum();
    let (from, to, protocol) = (packet.src_addr().into(), packet.dst_addr().into(), packet.next_header());
    let payload = packet.payload_mut();
    match protocol {
        IpProtocol::Tcp if payload.len() >= 20 => {
            TcpPacket::new_unchecked(payload).fill_checksum(&from, &to);
        }
        IpProtocol::Udp => {
            if let Ok(mut datagram) = UdpPacket::new_checked(payload) {
                datagram.fill_checksum(&from, &to);
            }
        }
        IpProtocol::Icmp if payload.len() >= 8 => Icmpv4Packet::new_unchecked(payload).fill_checksum(),
        _ => {}
    }
}

impl Fuzzer {
    fn theirs(&mut self) -> Remote {
        let address = match self.random.below(8) {
            0 => Ipv4Addr::from_bits(self.random.next() as u32),
            1 => TWO,
            2 => Ipv4Addr::new(10, 0, 2, 255),
            _ => Ipv4Addr::new(10, 0, 2, 100 + self.random.below(4) as u8),
        };
        (address, 1 + self.random.below(30) as u16)
    }

    fn own(&mut self) -> Remote {
        let address = match self.random.below(10) {
            0 => Ipv4Addr::BROADCAST,
            1 => Ipv4Addr::new(10, 0, 2, 255),
            2 => Ipv4Addr::new(224, 0, 0, 1),
            _ => TWO,
        };
        (address, [80, 81, 53, 9, 0][self.random.below(5)])
    }

    fn packet(&mut self, from: Ipv4Addr, to: Ipv4Addr, kind: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let sums = ChecksumCapabilities::default();
        let ip = Ipv4Repr {
            src_addr: from,
            dst_addr: to,
            next_header: kind,
            payload_len: payload.len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(THEIRS),
            dst_addr: EthernetAddress(if to == TWO { self.to } else { [0xff; 6] }),
            ethertype: EthernetProtocol::Ipv4,
        };
        let mut frame = vec![0; IP + ip.buffer_len() + payload.len()];
        let mut link = EthernetFrame::new_unchecked(&mut frame);
        ethernet.emit(&mut link);
        let mut packet = Ipv4Packet::new_unchecked(link.payload_mut());
        ip.emit(&mut packet, &sums);
        packet.payload_mut().copy_from_slice(payload);
        frame
    }

    fn arp(&mut self) -> Vec<u8> {
        let operation =
            [ArpOperation::Request, ArpOperation::Reply, ArpOperation::Unknown(9)][self.random.below(3)];
        let arp = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(THEIRS),
            source_protocol_addr: self.theirs().0,
            target_hardware_addr: EthernetAddress(self.to),
            target_protocol_addr: self.own().0,
        };
        let mut frame = vec![0; IP + arp.buffer_len()];
        let mut link = EthernetFrame::new_unchecked(&mut frame);
        EthernetRepr {
            src_addr: EthernetAddress(THEIRS),
            dst_addr: EthernetAddress(self.to),
            ethertype: EthernetProtocol::Arp,
        }
        .emit(&mut link);
        arp.emit(&mut ArpPacket::new_unchecked(link.payload_mut()));
        frame
    }

    fn icmp(&mut self) -> Vec<u8> {
        let (theirs, own, count) = (self.theirs().0, self.own().0, self.random.below(1400));
        let data = self.random.bytes(count);
        let header = Ipv4Repr {
            src_addr: own,
            dst_addr: theirs,
            next_header: IpProtocol::Tcp,
            payload_len: data.len(),
            hop_limit: 1,
        };
        let icmp = match self.random.below(3) {
            0 => Icmpv4Repr::EchoRequest { ident: 1, seq_no: 2, data: &data },
            1 => Icmpv4Repr::EchoReply { ident: 0x4578, seq_no: 1, data: &data },
            _ => Icmpv4Repr::DstUnreachable {
                reason: Icmpv4DstUnreachable::HostUnreachable,
                header,
                data: &data,
            },
        };
        let mut payload = vec![0; icmp.buffer_len()];
        icmp.emit(&mut Icmpv4Packet::new_unchecked(&mut payload), &ChecksumCapabilities::default());
        self.packet(theirs, own, IpProtocol::Icmp, &payload)
    }

    fn udp(&mut self) -> Vec<u8> {
        let (theirs, own, count) = (self.theirs(), self.own(), self.random.below(1460));
        let data = self.random.bytes(count);
        let udp = UdpRepr { src_port: theirs.1, dst_port: own.1.max(1) };
        let mut payload = vec![0; udp.header_len() + count];
        udp.emit(
            &mut UdpPacket::new_unchecked(&mut payload),
            &theirs.0.into(),
            &own.0.into(),
            count,
            |room| room.copy_from_slice(&data),
            &ChecksumCapabilities::default(),
        );
        self.packet(theirs.0, own.0, IpProtocol::Udp, &payload)
    }

    /// A segment of no connection, or of one, with numbers that fit or nearly.
    fn tcp(&mut self) -> Vec<u8> {
        let macs = [THEIRS, self.to];
        let control = [
            TcpControl::Syn,
            TcpControl::None,
            TcpControl::None,
            TcpControl::Psh,
            TcpControl::Fin,
            TcpControl::Rst,
        ][self.random.below(6)];
        let known = if self.seen.is_empty() {
            None
        } else {
            self.seen.get(self.random.below(self.seen.len())).copied()
        };
        let mut frame = match known.filter(|_| self.random.below(4) > 0) {
            Some(seen) => {
                let control = if self.random.below(3) == 0 { control } else { TcpControl::None };
                let off = [0, 0, 0, 1, -1, 1460, 65_536, i32::MAX][self.random.below(8)];
                let next = seen.number.wrapping_add(if self.random.below(4) == 0 { 0 } else { seen.length });
                segment(macs, seen.theirs, seen.own, control, [seen.acknowledged.wrapping_add(off), next])
            }
            None => {
                let numbers = [self.random.next() as i32, self.random.next() as i32];
                segment(macs, self.theirs(), self.own(), control, numbers)
            }
        };
        if self.random.below(3) == 0 {
            // Options, or bytes.
            let count = self.random.below(12) * 4;
            let extra = self.random.bytes(count);
            if self.random.below(2) == 0 && count <= 20 {
                frame[IP + 32] = (5 + (frame.len() - IP - 40 + count) / 4).min(15) as u8 * 16;
            }
            frame.extend(extra);
            let length = (frame.len() - IP) as u16;
            frame[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
            mend(&mut frame);
        }
        frame
    }

    fn dhcp(&mut self, transaction: u32, to: [u8; 6]) -> Vec<u8> {
        let kind = [DhcpMessageType::Offer, DhcpMessageType::Ack, DhcpMessageType::Nak][self.random.below(3)];
        let from = if self.random.below(4) == 0 { self.theirs().0 } else { ROUTER };
        offer(kind, transaction, EthernetAddress(to), [from, ROUTER])
    }

    /// Changes a frame a little; checksums are made right again, or not.
    fn spoil(&mut self, frame: &mut Vec<u8>) {
        match self.random.below(8) {
            0..3 => return,
            3 => frame.truncate(self.random.below(frame.len() + 1)),
            4 => {
                let count = self.random.below(100);
                frame.extend(self.random.bytes(count));
            }
            // A part of a packet.
            5 if frame.len() > IP + 8 => frame[IP + 6] = (self.random.next() as u8) & 0x3f,
            _ => {
                for _ in 0..=self.random.below(3) {
                    // More often where headers are.
                    let limit = if self.random.below(2) == 0 { frame.len().min(80) } else { frame.len() };
                    if let Some(byte) = frame.get_mut(self.random.below(limit.max(1))) {
                        *byte = [0, 0xff, 0x7f, self.random.next() as u8][self.random.below(4)];
                    }
                }
            }
        }
        if self.random.below(4) > 0 {
            mend(frame);
        }
    }

    /// Whether a frame speaks in the name of the machine whose connection is to go on.
    fn is_innocent(frame: &[u8]) -> bool {
        !frame.windows(4).take(60).any(|address| address == ONE.octets())
    }

    fn frame(&mut self) -> Vec<u8> {
        loop {
            let mut frame = match self.random.below(12) {
                0 => self.arp(),
                1 => self.icmp(),
                2 | 3 => self.udp(),
                4 => self.dhcp(7, self.to),
                5 => {
                    let count = self.random.below(200);
                    self.random.bytes(count)
                }
                _ => self.tcp(),
            };
            self.spoil(&mut frame);
            if Self::is_innocent(&frame) {
                return frame;
            }
        }
    }

    /// Remembers a segment that was sent to those machines.
    fn see(&mut self, frame: &[u8]) {
        let Some(Ok(packet)) = frame.get(IP..).map(Ipv4Packet::new_checked) else { return };
        if packet.next_header() != IpProtocol::Tcp {
            return;
        }
        let Ok(segment) = TcpPacket::new_checked(packet.payload()) else { return };
        self.seen.push_back(Seen {
            own: (packet.src_addr(), segment.src_port()),
            theirs: (packet.dst_addr(), segment.dst_port()),
            number: segment.seq_number().0,
            acknowledged: segment.ack_number().0,
            length: segment.segment_len() as i32,
        });
        if self.seen.len() > 16 {
            self.seen.pop_front();
        }
    }
}

/// The connection that goes on: what was sent, and what has come.
struct Steady {
    client: Stream,
    server: Stream,
    sent: u64,
    come: u64,
}

impl Steady {
    fn go_on(&mut self, first: &Interface, second: &Interface) {
        let next: Vec<u8> = (self.sent..self.sent + 100).map(|n| (n % 251) as u8).collect();
        self.sent += first.send(&self.client, &next).expect("it is open") as u64;
        let mut bytes = [0; 400];
        let count = second.receive(&self.server, &mut bytes, false);
        for byte in &bytes[..count] {
            assert_eq!(*byte, (self.come % 251) as u8);
            self.come += 1;
        }
    }
}

/// So many frames at an interface with a given address.
fn fuzz(frames: u64, seed: u64) {
    println!("EXO_FUZZ_SEED={seed}");
    let (one, two) = End::pair();
    let first = Interface::new("eth0", one.clone(), fixed("10.0.2.15/24"), 1, 0);
    let second = Interface::new("eth0", two.clone(), fixed("10.0.2.16/24,10.0.2.2"), 2, 0);
    let (client, server) = connected(&first, &second);
    let mut steady = Steady { client, server, sent: 0, come: 0 };
    let owner = Owner::of(&[80, 81, 53]);
    let mut fuzzer = Fuzzer { random: Random(seed | 1), to: two.address, seen: VecDeque::new() };
    let mut connections = 0;
    for n in 0..frames {
        let now = 3000 * MS + n * MS / 8;
        two.put(&fuzzer.frame());
        if n % 8 != 7 {
            continue;
        }
        second.poll(now);
        owner.serve(&second, now);
        second.poll(now);
        // What is for those machines; the rest is for the other end.
        let sent: Vec<_> = std::iter::from_fn(|| one.take()).collect();
        for frame in sent {
            if frame[..6] == THEIRS { fuzzer.see(&frame) } else { one.put(&frame) }
        }
        first.poll(now);
        while first.arrived().is_some() || first.changed().is_some() || second.changed().is_some() {}
        steady.go_on(&first, &second);
        let mut made = owner.made.borrow_mut();
        owner.datagrams.borrow_mut().clear();
        if !made.is_empty() {
            let index = fuzzer.random.below(made.len());
            let stream = &made[index].0;
            let mut bytes = [0; 2000];
            match fuzzer.random.below(6) {
                0 => second.finish(stream),
                1 => second.abort(stream),
                2 => {
                    let _ = second.send(stream, &bytes);
                }
                _ => {
                    second.receive(stream, &mut bytes, false);
                }
            }
            if made.len() > 20 || second.status(stream).phase == Phase::Over {
                second.let_go(made.swap_remove(index).0);
                connections += 1;
            }
        }
        let (cost, count) = second.cost();
        assert!(count < 2000 && cost < 2000 * (2 * SIZE + 4096), "{cost} for {count}");
        assert!(second.half_open() <= 4096);
    }
    assert!(steady.come > frames / 8 * 50, "{} of {} have come", steady.come, steady.sent);
    assert!(connections > frames / 4000, "{connections} connections were made");
    println!("{connections} connections, {} bytes went on", steady.come);
}

/// So many answers of DHCP servers at an interface that asks.
fn fuzz_dhcp(frames: u64, seed: u64) {
    println!("EXO_FUZZ_SEED={seed}");
    let (one, server) = End::pair();
    let interface = Interface::new("eth0", one.clone(), Setup::Dhcp, 7, 0);
    let mut fuzzer = Fuzzer { random: Random(seed | 1), to: one.address, seen: VecDeque::new() };
    let (mut transaction, mut had) = (7, 0);
    for n in 0..frames {
        let mut frame = fuzzer.dhcp(transaction, one.address);
        fuzzer.spoil(&mut frame);
        one.put(&frame);
        interface.poll(n * 10 * MS);
        while let Some(frame) = server.take() {
            transaction = asked(&frame).map_or(transaction, |(_, transaction)| transaction);
        }
        had += u64::from(interface.address().is_some());
        let _ = interface.ping(Ipv4Addr::new(192, 0, 2, 1), n * 10 * MS);
        let _ =
            interface.connect(1 + n as u16 % 60000, (TWO, 80), SIZES, 1, 1).map(|it| interface.let_go(it));
        while interface.arrived().is_some() {}
    }
    assert!(had > frames / 1000, "it had an address {had} times");
}

fn seed() -> u64 {
    let chosen = std::env::var("EXO_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    chosen.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64)
    })
}

/// How many in each run; the long lane is `EXO_FUZZ_FRAMES=10000000 cargo test --release -p exo-drivers no_frame_does_harm`.
const FRAMES: u64 = 100_000;

#[test]
fn no_frame_does_harm() {
    let chosen = std::env::var("EXO_FUZZ_FRAMES").ok().and_then(|frames| frames.parse().ok());
    let frames = chosen.unwrap_or(FRAMES);
    fuzz(frames, seed());
    fuzz_dhcp(frames / 10, seed());
}
