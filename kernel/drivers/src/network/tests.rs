// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interfaces at the two ends of a cable.

mod flood;
mod fuzz;
mod icmp;
mod sockets;

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame,
    EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::{
    Counters, Direction, FrameListener, NetworkDevice, NetworkError,
    interface::{Interface, Setup},
    loopback::Loopback,
};

/// One end of a cable.
struct End {
    address: [u8; 6],
    inbox: Mutex<VecDeque<Vec<u8>>>,
    other: Mutex<Option<Arc<End>>>,
    cut: AtomicBool,
    counters: Counters,
}

impl End {
    fn new(last: u8) -> Arc<Self> {
        Arc::new(Self {
            address: [2, 0, 0, 0, 0, last],
            inbox: Mutex::default(),
            other: Mutex::default(),
            cut: AtomicBool::new(false),
            counters: Counters::default(),
        })
    }

    fn pair() -> (Arc<Self>, Arc<Self>) {
        let (one, two) = (Self::new(1), Self::new(2));
        *one.other.lock().unwrap() = Some(two.clone());
        *two.other.lock().unwrap() = Some(one.clone());
        (one, two)
    }

    /// Takes a frame that came here.
    fn take(&self) -> Option<Vec<u8>> {
        self.inbox.lock().unwrap().pop_front()
    }

    /// Makes a frame come here.
    fn put(&self, frame: &[u8]) {
        self.inbox.lock().unwrap().push_back(frame.to_vec());
    }
}

impl NetworkDevice for End {
    fn name(&self) -> &str {
        "cable"
    }
    fn hardware_address(&self) -> Option<[u8; 6]> {
        Some(self.address)
    }
    fn mtu(&self) -> usize {
        1500
    }
    fn is_connected(&self) -> bool {
        !self.cut.load(Ordering::Relaxed)
    }
    fn receive(&self, frame: &mut Vec<u8>) -> bool {
        let Some(came) = self.take() else { return false };
        self.counters.count(Direction::In, came.len());
        *frame = came;
        true
    }
    fn transmit(&self, frame: &[u8]) -> Result<(), NetworkError> {
        if self.cut.load(Ordering::Relaxed) {
            self.counters.count_dropped(Direction::Out);
            return Err(NetworkError::Gone);
        }
        self.counters.count(Direction::Out, frame.len());
        if let Some(other) = &*self.other.lock().unwrap() {
            other.put(frame);
        }
        Ok(())
    }
    fn counters(&self) -> &Counters {
        &self.counters
    }
    fn listen(&self, _listener: Arc<dyn FrameListener>) {}
}

const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 16);
const MS: u64 = 1_000_000;

fn fixed(text: &str) -> Setup {
    Setup::parse(text).unwrap()
}

/// Lets both ends work until `happens`, a millisecond at a time; when it did.
fn work(ends: &[&Interface], most_ms: u64, mut happens: impl FnMut() -> bool) -> Option<u64> {
    (1..=most_ms).map(|ms| ms * MS).find(|now| {
        ends.iter().for_each(|end| {
            end.poll(*now);
        });
        happens()
    })
}

#[test]
fn setups_are_read() {
    assert_eq!(Setup::parse("dhcp"), Some(Setup::Dhcp));
    let gateway = Some(Ipv4Addr::new(10, 0, 2, 2));
    assert_eq!(
        Setup::parse("10.0.2.15/24,10.0.2.2"),
        Some(Setup::Fixed { address: ONE, prefix: 24, gateway })
    );
    assert_eq!(Setup::parse("10.0.2.15/32"), Some(Setup::Fixed { address: ONE, prefix: 32, gateway: None }));
    let malformed =
        ["", "10.0.2.15", "10.0.2.15/33", "10.0.2.256/8", "10.0.2.15/24,", "10.0.2.15/24,x", "DHCP"];
    // Addresses of no single machine.
    let impossible = ["224.0.0.1/24", "255.255.255.255/8", "0.0.0.0/0", "10.0.2.15/24,224.0.0.1"];
    for nonsense in malformed.into_iter().chain(impossible) {
        assert_eq!(Setup::parse(nonsense), None, "{nonsense:?}");
    }
}

#[test]
fn two_machines_ping_each_other() {
    let (one, two) = End::pair();
    let first = Interface::new("eth0", one.clone(), fixed("10.0.2.15/24"), 1, 0);
    let second = Interface::new("eth0", two.clone(), fixed("10.0.2.16/24"), 2, 0);
    first.ping(TWO, 0).unwrap();
    second.ping(ONE, 0).unwrap();
    let answered = |interface: &Interface| interface.last_ping().is_some_and(|ping| ping.answered.is_some());
    assert!(work(&[&first, &second], 3000, || answered(&first) && answered(&second)).is_some());
    // The question who has the address, the ping, and both for the other.
    let (into, out) = (one.counters.of(Direction::In), one.counters.of(Direction::Out));
    assert!(into.frames >= 3 && into.frames == two.counters.of(Direction::Out).frames, "{into:?}");
    assert!(out.bytes >= 42 + 98, "{out:?}");
}

#[test]
fn who_is_not_there_does_not_answer() {
    let (one, _two) = End::pair();
    let first = Interface::new("eth0", one, fixed("10.0.2.15/24"), 1, 0);
    first.ping(TWO, 0).unwrap();
    assert_eq!(work(&[&first], 3000, || first.last_ping().unwrap().answered.is_some()), None);
    assert_eq!(first.ping(Ipv4Addr::new(8, 8, 8, 8), 0), Err(NetworkError::Unreachable), "no gateway");
}

#[test]
fn an_interface_reaches_its_network_and_by_the_gateway_the_rest() {
    let (one, two) = End::pair();
    let near = Interface::new("eth0", one, fixed("10.0.2.15/24"), 1, 0);
    let far = Interface::new("eth1", two, fixed("10.1.0.1/16,10.1.0.254"), 1, 0);
    assert_eq!((near.reaches(TWO), near.reaches(Ipv4Addr::new(10, 1, 2, 3))), (Some(24), None));
    assert_eq!((far.reaches(TWO), far.reaches(Ipv4Addr::new(10, 1, 2, 3))), (Some(0), Some(16)));
    let off = Interface::new("eth2", End::new(3), Setup::Off, 1, 0);
    assert_eq!((off.address(), off.reaches(TWO)), (None, None));
}

#[test]
fn loopback_answers_itself() {
    let device = Loopback::new();
    let interface = Interface::new("lo", device.clone(), fixed("127.0.0.1/8"), 1, 0);
    interface.ping(Ipv4Addr::LOCALHOST, 0).unwrap();
    let answered = work(&[&interface], 10, || interface.last_ping().unwrap().answered.is_some());
    assert!(answered.is_some());
    assert_eq!(device.counters().of(Direction::Out).frames, 2, "the question and the answer");
    assert_eq!(device.counters().of(Direction::In), device.counters().of(Direction::Out));
}

#[test]
fn loopback_drops_what_nobody_takes() {
    let device = Loopback::new();
    let results: Vec<_> = (0..65).map(|_| device.transmit(&[0x45; 20])).collect();
    assert!(results[..64].iter().all(Result::is_ok));
    assert_eq!(results[64], Err(NetworkError::QueueFull));
    assert_eq!(device.transmit(&[0; 65537]), Err(NetworkError::TooLong));
    assert_eq!(device.counters().of(Direction::Out).dropped, 1);
}

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// A frame with a UDP packet, as a DHCP server sends it that names a router.
fn offer(
    kind: DhcpMessageType,
    transaction: u32,
    to: EthernetAddress,
    [server, router]: [Ipv4Addr; 2],
) -> Vec<u8> {
    let dhcp = DhcpRepr {
        message_type: kind,
        transaction_id: transaction,
        secs: 0,
        client_hardware_address: to,
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: ONE,
        server_ip: server,
        router: Some(router),
        subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: false,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(server),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: Some(3600),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let udp = UdpRepr { src_port: 67, dst_port: 68 };
    let ip = Ipv4Repr {
        src_addr: server,
        dst_addr: Ipv4Addr::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + dhcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 9]),
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Ipv4,
    };
    let sums = smoltcp::phy::ChecksumCapabilities::default();
    let mut frame = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    let mut link = EthernetFrame::new_unchecked(&mut frame);
    ethernet.emit(&mut link);
    let mut packet = Ipv4Packet::new_unchecked(link.payload_mut());
    ip.emit(&mut packet, &sums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    udp.emit(
        &mut datagram,
        &server.into(),
        &Ipv4Addr::BROADCAST.into(),
        dhcp.buffer_len(),
        |payload| dhcp.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap(),
        &sums,
    );
    frame
}

/// Kind and transaction of a DHCP message in a frame.
fn asked(frame: &[u8]) -> Option<(DhcpMessageType, u32)> {
    let link = EthernetFrame::new_checked(frame).ok()?;
    let packet = Ipv4Packet::new_checked(link.payload()).ok()?;
    let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
    let dhcp = DhcpPacket::new_checked(datagram.payload()).ok()?;
    let repr = DhcpRepr::parse(&dhcp).ok()?;
    Some((repr.message_type, repr.transaction_id))
}

/// Answers what came to the server's end, from a server that names a router.
fn serve(one: &End, end: &End, addresses: [Ipv4Addr; 2]) {
    while let Some(frame) = end.take() {
        let answer = match asked(&frame) {
            Some((DhcpMessageType::Discover, id)) => (DhcpMessageType::Offer, id),
            Some((DhcpMessageType::Request, id)) => (DhcpMessageType::Ack, id),
            _ => continue,
        };
        one.put(&offer(answer.0, answer.1, EthernetAddress(one.address), addresses));
    }
}

#[test]
fn an_address_comes_by_dhcp() {
    let (one, server) = End::pair();
    let interface = Interface::new("eth0", one.clone(), Setup::Dhcp, 7, 0);
    assert!(interface.asks() && interface.address().is_none());
    let got = work(&[&interface], 5000, || {
        serve(&one, &server, [ROUTER; 2]);
        interface.address() == Some((ONE, 24))
    });
    assert!(got.is_some(), "no address");
    assert_eq!(interface.gateway(), Some(ROUTER));
}

#[test]
fn a_router_that_is_no_single_machine_is_none() {
    for router in [[224, 0, 0, 1], [255, 255, 255, 255], [0, 0, 0, 0]] {
        let (one, server) = End::pair();
        let interface = Interface::new("eth0", one.clone(), Setup::Dhcp, 7, 0);
        let got = work(&[&interface], 5000, || {
            serve(&one, &server, [ROUTER, router.into()]);
            interface.address() == Some((ONE, 24))
        });
        assert!(got.is_some(), "no address");
        let sent = interface.ping(Ipv4Addr::new(192, 0, 2, 1), 6000 * MS);
        (6000..6100).for_each(|ms| {
            interface.poll(ms * MS);
        });
        assert_eq!((sent, interface.gateway()), (Err(NetworkError::Unreachable), None), "{router:?}");
    }
}

#[test]
fn a_server_without_an_address_is_not_believed() {
    let (one, server) = End::pair();
    let interface = Interface::new("eth0", one.clone(), Setup::Dhcp, 7, 0);
    let got = work(&[&interface], 5000, || {
        serve(&one, &server, [Ipv4Addr::UNSPECIFIED, ROUTER]);
        interface.address().is_some()
    });
    // Half of the lease is over: it would be asked again.
    interface.poll(2000 * 1000 * MS);
    assert_eq!(got, None);
}

#[test]
fn who_has_the_address_is_answered() {
    let (one, two) = End::pair();
    let interface = Interface::new("eth0", one, fixed("10.0.2.15/24"), 1, 0);
    let asker = EthernetAddress(two.address);
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: asker,
        source_protocol_addr: TWO,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: ONE,
    };
    let mut frame = vec![0; 14 + arp.buffer_len()];
    let mut link = EthernetFrame::new_unchecked(&mut frame);
    EthernetRepr { src_addr: asker, dst_addr: EthernetAddress::BROADCAST, ethertype: EthernetProtocol::Arp }
        .emit(&mut link);
    arp.emit(&mut ArpPacket::new_unchecked(link.payload_mut()));
    two.transmit(&frame).unwrap();
    interface.poll(MS);
    let answer = two.take().expect("an answer");
    let link = EthernetFrame::new_checked(&answer[..]).unwrap();
    let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } =
        ArpRepr::parse(&ArpPacket::new_checked(link.payload()).unwrap()).unwrap()
    else {
        panic!("another kind of ARP")
    };
    assert_eq!((operation, source_protocol_addr), (ArpOperation::Reply, ONE));
    assert_eq!(source_hardware_addr.0, [2, 0, 0, 0, 0, 1]);
}

#[test]
fn frames_of_any_kind_do_no_harm() {
    let (one, two) = End::pair();
    let interface = Interface::new("eth0", one.clone(), Setup::Dhcp, 1, 0);
    // Numbers without a pattern, and the beginnings of good frames.
    let good = offer(DhcpMessageType::Offer, 1, EthernetAddress(one.address), [ROUTER; 2]);
    let mut state = 1u64;
    for length in (0..200).chain([1513, 1514, 1515, 9000]) {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        one.put(&noise);
        one.put(&good[..length.min(good.len())]);
        let mut damaged = good.clone();
        if let Some(byte) = damaged.get_mut(length) {
            *byte ^= 0xff;
        }
        one.put(&damaged);
        interface.poll(length as u64 * MS);
    }
    assert_eq!(one.counters.of(Direction::In).frames, 204 * 3);
    drop(two);
}

#[test]
fn a_flood_is_taken_in_portions() {
    let (one, _two) = End::pair();
    let interface = Interface::new("eth0", one.clone(), fixed("10.0.2.15/24"), 1, 0);
    (0..1000).for_each(|_| one.put(&[0xff; 60]));
    let next = interface.poll(MS).unwrap();
    assert_eq!(one.counters.of(Direction::In).frames, 8);
    assert_eq!(next, MS, "and again at once");
}
