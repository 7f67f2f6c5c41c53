// SPDX-License-Identifier: MIT OR Apache-2.0
//! What NETLINK_ROUTE answers.

use core::net::Ipv4Addr;

use alloc::vec::Vec;

use linux_raw_sys::net;

use crate::{
    errno::Errno,
    interfaces::{self, Described},
};

/// Kinds of messages.
mod kind {
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const GET_LINK: u16 = 18;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const GET_ADDRESS: u16 = 22;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const GET_ROUTE: u16 = 26;
}

/// Flags of messages: it is a request, more follow, an answer is wanted in any case, all there are.
const REQUEST: u16 = 1;
const MULTI: u16 = 2;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of an answer, at most; so much programs have room for.
const MOST: usize = 4096;
const LOOPBACK: u16 = 772;
const ETHERNET: u16 = 1;
/// The carrier is there (IFF_LOWER_UP), beside the bits that fit into 16.
const LOWER_UP: u32 = 0x10000;

/// A request's header.
struct Header {
    length: usize,
    kind: u16,
    flags: u16,
    sequence: u32,
}

impl Header {
    fn of(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *bytes.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let is_whole = (HEADER..=bytes.len()).contains(&length);
        is_whole.then_some(Self {
            length,
            kind: u16::from_ne_bytes([e, f]),
            flags: u16::from_ne_bytes([g, h]),
            sequence: u32::from_ne_bytes([i, j, k, l]),
        })
    }
}

/// Answers that are put together.
struct Answers<'a> {
    bytes: Vec<u8>,
    port: u32,
    sequence: u32,
    each: &'a mut dyn FnMut(Vec<u8>),
}

impl Answers<'_> {
    /// Adds a message: a structure, and attributes with their numbers.
    fn add(&mut self, kind: u16, flags: u16, structure: &[u8], attributes: &[(u16, &[u8])]) {
        let size = |length: usize| length.next_multiple_of(4);
        let attributes_size: usize = attributes.iter().map(|(_, value)| 4 + size(value.len())).sum();
        let length = HEADER + size(structure.len()) + attributes_size;
        if !self.bytes.is_empty() && self.bytes.len() + length > MOST {
            self.end();
        }
        self.bytes.extend((length as u32).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend(self.port.to_ne_bytes());
        self.pad_with(structure);
        for (number, value) in attributes {
            self.bytes.extend((4 + value.len() as u16).to_ne_bytes());
            self.bytes.extend(number.to_ne_bytes());
            self.pad_with(value);
        }
    }

    fn pad_with(&mut self, value: &[u8]) {
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// What has been put together is an answer.
    fn end(&mut self) {
        if !self.bytes.is_empty() {
            (self.each)(core::mem::take(&mut self.bytes));
        }
    }

    /// Says what became of a request; 0 for nothing bad.
    fn acknowledge(&mut self, error: i32, request: &[u8]) {
        let mut bytes = Vec::new();
        bytes.extend((-error).to_ne_bytes());
        // Of a request that was good the header is enough.
        bytes.extend(if error == 0 { request.get(..HEADER).unwrap_or_default() } else { request });
        self.add(kind::ERROR, 0, &bytes, &[]);
    }
}

/// Answers what is asked in `bytes` by the socket with a number.
pub(super) fn to(bytes: &[u8], port: u32, mut each: impl FnMut(Vec<u8>)) {
    let mut rest = bytes;
    while let Some(header) = Header::of(rest) {
        let request = rest.get(..header.length).unwrap_or_default();
        let mut answers = Answers { bytes: Vec::new(), port, sequence: header.sequence, each: &mut each };
        answer(&header, request, &mut answers);
        answers.end();
        rest = rest.get(header.length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn answer(header: &Header, request: &[u8], answers: &mut Answers<'_>) {
    // What is no request, or is for the protocol itself, is not answered.
    if header.flags & REQUEST == 0 || header.kind < kind::NEW_LINK {
        return;
    }
    let family = request.get(HEADER).copied().unwrap_or(0);
    let wants = |of: u32| u32::from(family) == net::AF_UNSPEC || u32::from(family) == of;
    let is_dump = header.flags & DUMP == DUMP;
    match header.kind {
        kind::GET_LINK if is_dump => interfaces::described().for_each(|it| link(&it, MULTI, answers)),
        kind::GET_LINK => {
            match asked(request) {
                Some(it) => link(&it, 0, answers),
                None => answers.acknowledge(Errno::ENODEV.0, request),
            }
            return;
        }
        kind::GET_ADDRESS if is_dump => {
            if wants(net::AF_INET) {
                interfaces::described().for_each(|it| address(&it, answers));
            }
            if wants(net::AF_INET6) {
                interfaces::described()
                    .filter(Described::is_loopback)
                    .for_each(|it| address_v6(&it, answers));
            }
        }
        kind::GET_ROUTE if is_dump => {
            if wants(net::AF_INET) {
                interfaces::described().for_each(|it| routes(&it, answers));
            }
        }
        _ => {
            answers.acknowledge(Errno::EOPNOTSUPP.0, request);
            return;
        }
    }
    answers.add(kind::DONE, MULTI, &0_i32.to_ne_bytes(), &[]);
    if header.flags & ACK != 0 {
        answers.acknowledge(0, request);
    }
}

/// The interface whose number is in a `struct ifinfomsg`, or else whose name is among the attributes behind it.
fn asked(request: &[u8]) -> Option<Described> {
    const IFNAME: u16 = 3;
    let structure: &[u8; 16] = request.get(HEADER..)?.first_chunk()?;
    let [_, _, _, _, a, b, c, d, ..] = *structure;
    let index = i32::from_ne_bytes([a, b, c, d]);
    if index != 0 {
        return interfaces::described().find(|it| it.index == index);
    }
    let mut rest = request.get(HEADER + structure.len()..)?;
    while let [a, b, c, d, ..] = *rest {
        let (length, number) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
        let value = rest.get(4..length)?;
        if number == IFNAME {
            let name = value.split(|byte| *byte == 0).next()?;
            return interfaces::described().find(|it| it.name.as_bytes() == name);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// `struct ifinfomsg`, and what is said of a link.
fn link(interface: &Described, flags: u16, answers: &mut Answers<'_>) {
    const ADDRESS: u16 = 1;
    const BROADCAST: u16 = 2;
    const IFNAME: u16 = 3;
    const MTU: u16 = 4;
    const QUEUE: u16 = 6;
    const TXQLEN: u16 = 13;
    const OPERSTATE: u16 = 16;
    let is_loopback = interface.is_loopback();
    let mut bits = u32::from(interface.flags() as u16);
    if interface.is_connected {
        bits |= LOWER_UP;
    }
    let [first, second] = if is_loopback { LOOPBACK } else { ETHERNET }.to_ne_bytes();
    let mut structure = Vec::from([0, 0, first, second]);
    structure.extend(interface.index.to_ne_bytes());
    structure.extend(bits.to_ne_bytes());
    structure.extend(0_u32.to_ne_bytes());
    let name: Vec<u8> = interface.name.bytes().chain([0]).collect();
    // IF_OPER_UNKNOWN, UP and DOWN.
    let state = [if is_loopback {
        0
    } else if interface.is_connected {
        6
    } else {
        2
    }];
    let (hardware, all) =
        (interface.hardware.unwrap_or_default(), if is_loopback { [0; 6] } else { [0xff; 6] });
    answers.add(
        kind::NEW_LINK,
        flags,
        &structure,
        &[
            (IFNAME, &name),
            (TXQLEN, &1000_u32.to_ne_bytes()),
            (OPERSTATE, &state),
            (MTU, &interface.mtu().to_ne_bytes()),
            (QUEUE, b"noqueue\0"),
            (ADDRESS, &hardware),
            (BROADCAST, &all),
        ],
    );
}

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHE: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// `struct ifa_cacheinfo` of an address that is for ever.
const FOR_EVER: [u8; 16] = [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];
/// It stays (IFA_F_PERMANENT).
const PERMANENT: u8 = 0x80;
/// How far an address is known: everywhere, or on the machine alone.
const UNIVERSE: u8 = 0;
const HOST: u8 = 254;

/// `struct ifaddrmsg`, and an address.
fn address(interface: &Described, answers: &mut Answers<'_>) {
    let Some((ip, bits)) = interface.address else { return };
    let scope = if interface.is_loopback() { HOST } else { UNIVERSE };
    let mut structure = Vec::from([net::AF_INET as u8, bits, PERMANENT, scope]);
    structure.extend(interface.index.to_ne_bytes());
    let name: Vec<u8> = interface.name.bytes().chain([0]).collect();
    let all = ip | Ipv4Addr::from(u32::MAX.checked_shr(bits.into()).unwrap_or(0));
    let (own, all) = (ip.octets(), all.octets());
    let flags = u32::from(PERMANENT).to_ne_bytes();
    let mut attributes = Vec::from([(IFA_ADDRESS, &own[..]), (IFA_LOCAL, &own)]);
    if !interface.is_loopback() {
        attributes.push((IFA_BROADCAST, &all));
    }
    attributes.extend([(IFA_LABEL, &name[..]), (IFA_FLAGS, &flags), (IFA_CACHE, &FOR_EVER)]);
    answers.add(kind::NEW_ADDRESS, MULTI, &structure, &attributes);
}

/// The address ::1.
fn address_v6(interface: &Described, answers: &mut Answers<'_>) {
    let mut structure = Vec::from([net::AF_INET6 as u8, 128, PERMANENT, HOST]);
    structure.extend(interface.index.to_ne_bytes());
    let own = core::net::Ipv6Addr::LOCALHOST.octets();
    let flags = u32::from(PERMANENT).to_ne_bytes();
    let attributes: [(u16, &[u8]); 3] = [(IFA_ADDRESS, &own), (IFA_FLAGS, &flags), (IFA_CACHE, &FOR_EVER)];
    answers.add(kind::NEW_ADDRESS, MULTI, &structure, &attributes);
}

/// `struct rtmsg`, and where packets go by an interface.
fn routes(interface: &Described, answers: &mut Answers<'_>) {
    const DESTINATION: u16 = 1;
    const INTERFACE: u16 = 4;
    const GATEWAY: u16 = 5;
    const SOURCE: u16 = 7;
    const TABLE: u16 = 15;
    // The main table, routes that the kernel and DHCP have made, those in a network and those beyond, and ordinary ones.
    const MAIN: u8 = 254;
    const BY_KERNEL: u8 = 2;
    const AT_START: u8 = 3;
    const LINK: u8 = 253;
    const UNICAST: u8 = 1;
    let (Some((ip, bits)), false) = (interface.address, interface.is_loopback()) else { return };
    let (index, table) = (interface.index.to_ne_bytes(), u32::from(MAIN).to_ne_bytes());
    let family = net::AF_INET as u8;
    if let Some(gateway) = interface.gateway {
        let structure = [family, 0, 0, 0, MAIN, AT_START, UNIVERSE, UNICAST, 0, 0, 0, 0];
        let attributes = [(TABLE, &table), (GATEWAY, &gateway.octets()), (INTERFACE, &index)];
        answers.add(
            kind::NEW_ROUTE,
            MULTI,
            &structure,
            &attributes.map(|(number, value)| (number, &value[..])),
        );
    }
    let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0));
    let structure = [family, bits, 0, 0, MAIN, BY_KERNEL, LINK, UNICAST, 0, 0, 0, 0];
    let (network, own) = ((ip & mask).octets(), ip.octets());
    let attributes = [(TABLE, &table), (DESTINATION, &network), (SOURCE, &own), (INTERFACE, &index)];
    answers.add(kind::NEW_ROUTE, MULTI, &structure, &attributes.map(|(number, value)| (number, &value[..])));
}
