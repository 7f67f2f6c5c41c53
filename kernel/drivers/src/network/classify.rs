// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a frame is, by its headers alone: which socket it is for, or that the stack answers it by itself. What follows the headers, and the checksums,
//! are looked at by whom it is given to.

use core::{net::Ipv4Addr, ops::Range};

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket,
        TcpRepr, UdpPacket, UdpRepr,
    },
};

use super::{ETHERNET_HEADER, places::Remote};

/// Which connection, or who sends a datagram to whom: this machine's end, and the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) own: Remote,
    pub(super) remote: Remote,
}

/// What a segment's flags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flags {
    /// It asks for a connection.
    Opens,
    /// It breaks one off.
    Resets,
    /// It acknowledges everything before this number.
    Acknowledges(u32),
    /// None of these, which no connection sends.
    Nothing,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The stack knows what to do: ARP, ICMP, DHCP.
    Stack,
    /// It is for nobody here.
    Nobody,
    /// A TCP segment.
    Segment(Key, Flags),
    /// A UDP datagram.
    Datagram(Key),
}

/// The ports of DHCP: a server's, and a client's.
const DHCP: [u16; 2] = [67, 68];

/// What the interface is that a frame came to.
pub(super) struct Place {
    /// Its address on the Ethernet, if it is one.
    pub(super) hardware: Option<[u8; 6]>,
    pub(super) address: Option<Ipv4Addr>,
    /// Where it hears what is for all of its network.
    pub(super) broadcast: Option<Ipv4Addr>,
    /// It asks for its address.
    pub(super) asks: bool,
}

impl Place {
    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        address.is_broadcast() || Some(address) == self.broadcast
    }

    /// Whether a packet may be from this address.
    fn may_send(&self, address: Ipv4Addr) -> bool {
        !(address.is_multicast() || address.is_unspecified() || self.is_broadcast(address))
    }
}

/// The IP packet in a frame.
fn packet(frame: &[u8], is_ethernet: bool) -> Option<&[u8]> {
    if is_ethernet { frame.get(ETHERNET_HEADER..) } else { Some(frame) }
}

/// What a frame is.
pub(super) fn classify(frame: &[u8], place: &Place) -> Kind {
    classified(frame, place).unwrap_or(Kind::Nobody)
}

fn classified(frame: &[u8], place: &Place) -> Option<Kind> {
    let mut is_for_us_alone = true;
    if let Some(own) = place.hardware {
        let link = EthernetFrame::new_checked(frame).ok()?;
        is_for_us_alone = link.dst_addr().0 == own;
        if !is_for_us_alone && link.dst_addr().is_unicast() {
            return None;
        }
        if link.ethertype() != EthernetProtocol::Ipv4 {
            return Some(Kind::Stack);
        }
    }
    let packet = Ipv4Packet::new_checked(packet(frame, place.hardware.is_some())?).ok()?;
    // The stack would take a part for the whole.
    if packet.version() != 4 || packet.more_frags() || packet.frag_offset() != 0 {
        return None;
    }
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let is_own = place.address == Some(to);
    match packet.next_header() {
        IpProtocol::Tcp if is_own && is_for_us_alone && place.may_send(from) => {
            let segment = TcpPacket::new_checked(packet.payload()).ok()?;
            let own = (to, segment.dst_port());
            let remote = (from, segment.src_port());
            if own.1 == 0 || remote.1 == 0 {
                return None;
            }
            let flags = match (segment.rst(), segment.syn(), segment.ack()) {
                (true, ..) => Flags::Resets,
                (_, true, false) => Flags::Opens,
                (_, _, true) => Flags::Acknowledges(segment.ack_number().0 as u32),
                _ => Flags::Nothing,
            };
            Some(Kind::Segment(Key { own, remote }, flags))
        }
        IpProtocol::Tcp => None,
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
            let ports = [datagram.src_port(), datagram.dst_port()];
            if place.asks && ports == DHCP {
                return Some(Kind::Stack);
            }
            if !(is_own || place.is_broadcast(to)) || !place.may_send(from) || ports[1] == 0 {
                return None;
            }
            Some(Kind::Datagram(Key { own: (to, ports[1]), remote: (from, ports[0]) }))
        }
        _ => Some(Kind::Stack),
    }
}

/// The header of a segment that is as it should be, and of its packet; without what it carries.
pub(super) fn segment(
    frame: &[u8],
    is_ethernet: bool,
    sums: &ChecksumCapabilities,
) -> Option<TcpRepr<'static>> {
    let packet = Ipv4Packet::new_checked(packet(frame, is_ethernet)?).ok()?;
    let ip = Ipv4Repr::parse(&packet, sums).ok()?;
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    let (from, to) = (IpAddress::Ipv4(ip.src_addr), IpAddress::Ipv4(ip.dst_addr));
    let repr = TcpRepr::parse(&segment, &from, &to, sums).ok()?;
    Some(TcpRepr {
        src_port: repr.src_port,
        dst_port: repr.dst_port,
        control: TcpControl::Syn,
        seq_number: repr.seq_number,
        ack_number: None,
        window_len: repr.window_len,
        window_scale: repr.window_scale,
        max_seg_size: repr.max_seg_size,
        sack_permitted: repr.sack_permitted,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    })
}

/// Where a datagram's bytes are in its frame, if all is as it should be.
pub(super) fn datagram(frame: &[u8], is_ethernet: bool, sums: &ChecksumCapabilities) -> Option<Range<usize>> {
    const HEADER: usize = 8;
    let packet = Ipv4Packet::new_checked(packet(frame, is_ethernet)?).ok()?;
    let ip = Ipv4Repr::parse(&packet, sums).ok()?;
    let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
    let (from, to) = (IpAddress::Ipv4(ip.src_addr), IpAddress::Ipv4(ip.dst_addr));
    UdpRepr::parse(&datagram, &from, &to, sums).ok()?;
    let link = if is_ethernet { ETHERNET_HEADER } else { 0 };
    let start = link + usize::from(packet.header_len()) + HEADER;
    Some(start..start + datagram.payload().len())
}
