// SPDX-License-Identifier: MIT OR Apache-2.0
//! ICMP messages (RFC 792, RFC 4443) as bytes: their checksums, which are answered, and with what; and the IPv4 header in front of them
//! (RFC 791). Nothing here allocates.

use core::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a message's header.
pub const HEADER: usize = 8;
/// Bytes of the header of an IPv4 packet without options.
pub const IPV4_HEADER: usize = 20;
/// The protocol's number in IPv4.
pub const V4: u8 = 1;
/// The protocol's number in IPv6.
pub const V6: u8 = 58;

const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
const TIMESTAMP: u8 = 13;
const TIMESTAMP_REPLY: u8 = 14;
/// Bytes of a timestamp message.
const TIMESTAMP_SIZE: usize = 20;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Of which protocol a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// ICMP.
    V4,
    /// ICMPv6, whose checksum counts the addresses, too.
    V6 {
        /// From where.
        from: Ipv6Addr,
        /// And where to.
        to: Ipv6Addr,
    },
}

/// Adds bytes to a sum of 16-bit words in ones' complement.
fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(sum, |sum, pair| {
        let word = match pair {
            [high, low] => u16::from_be_bytes([*high, *low]),
            [high] => u16::from_be_bytes([*high, 0]),
            _ => 0,
        };
        let sum = sum + u32::from(word);
        (sum & 0xffff) + (sum >> 16)
    })
}

/// The sum over a message with whatever stands in the place of its checksum.
fn sum(message: &[u8], version: Version) -> u16 {
    let start = match version {
        Version::V4 => 0,
        Version::V6 { from, to } => {
            let length = (message.len() as u32).to_be_bytes();
            let sum = add(add(0, &from.octets()), &to.octets());
            add(add(sum, &length), &[0, V6])
        }
    };
    !(add(start, message) as u16)
}

/// Writes a message's checksum into it.
pub fn fill_checksum(message: &mut [u8], version: Version) {
    put(message, 2, &[0, 0]);
    let sum = sum(message, version);
    put(message, 2, &sum.to_be_bytes());
}

/// Whether a message is whole.
pub fn is_valid(message: &[u8], version: Version) -> bool {
    message.len() >= HEADER && sum(message, version) == 0
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in to.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// What identifies whose echo this is, if it is an answer to one.
pub fn answered_ident(message: &[u8], version: Version) -> Option<u16> {
    let reply = if version == Version::V4 { ECHO_REPLY } else { ECHO_REPLY_V6 };
    match message {
        [kind, _, _, _, high, low, ..] if *kind == reply => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// Whether a program that is not root may send it: it asks for an echo.
pub fn is_echo(message: &[u8], is_v6: bool) -> bool {
    let echo = if is_v6 { ECHO_V6 } else { ECHO };
    matches!(message, [kind, 0, ..] if *kind == echo)
}

/// Makes an echo another's: with that ident, and the right checksum.
pub fn set_ident(message: &mut [u8], ident: u16, version: Version) {
    put(message, 4, &ident.to_be_bytes());
    fill_checksum(message, version);
}

/// Turns a request into its answer, where it is one that a machine answers and is whole. `version` is the request's, and `now` milliseconds
/// since midnight.
pub fn turn_into_answer(message: &mut [u8], version: Version, now: u32) -> bool {
    if !is_valid(message, version) {
        return false;
    }
    let (kind, back) = match (version, message.first(), message.get(1)) {
        (Version::V4, Some(&ECHO), _) => (ECHO_REPLY, version),
        (Version::V4, Some(&TIMESTAMP), Some(0)) if message.len() >= TIMESTAMP_SIZE => {
            put(message, 12, &now.to_be_bytes());
            put(message, 16, &now.to_be_bytes());
            (TIMESTAMP_REPLY, version)
        }
        (Version::V6 { from, to }, Some(&ECHO_V6), _) => (ECHO_REPLY_V6, Version::V6 { from: to, to: from }),
        _ => return false,
    };
    put(message, 0, &[kind]);
    fill_checksum(message, back);
    true
}

/// What is said of an IPv4 packet in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Header {
    /// Type of service.
    pub tos: u8,
    /// How many routers it may still pass.
    pub ttl: u8,
    /// From where.
    pub from: Ipv4Addr,
    /// And where to.
    pub to: Ipv4Addr,
}

impl Ipv4Header {
    /// The header of a packet of ICMP with `length` bytes behind it, which is not to be cut into fragments.
    pub fn bytes(&self, length: usize, ident: u16) -> [u8; IPV4_HEADER] {
        let [high, low] = ((length + IPV4_HEADER) as u16).to_be_bytes();
        let [ident_high, ident_low] = ident.to_be_bytes();
        let start = [0x45, self.tos, high, low, ident_high, ident_low, 0x40, 0, self.ttl, V4, 0, 0];
        let mut header = [0; IPV4_HEADER];
        put(&mut header, 0, &start);
        put(&mut header, 12, &self.from.octets());
        put(&mut header, 16, &self.to.octets());
        let sum = !(add(0, &header) as u16);
        put(&mut header, 10, &sum.to_be_bytes());
        header
    }

    /// What a packet says, and where its message begins; none of one that is no IPv4 packet.
    pub fn parse(packet: &[u8]) -> Option<(Self, usize)> {
        let header: &[u8; IPV4_HEADER] = packet.first_chunk()?;
        let [first, tos, _, _, _, _, _, _, ttl, ..] = *header;
        let start = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || start < IPV4_HEADER || start > packet.len() {
            return None;
        }
        let address = |at: usize| {
            let bytes: &[u8; 4] = header.get(at..)?.first_chunk()?;
            Some(Ipv4Addr::from(*bytes))
        };
        Some((Self { tos, ttl, from: address(12)?, to: address(16)? }, start))
    }
}

/// Whether a raw socket's filter (ICMP_FILTER: a bit for each type that it does not want) keeps a message from it.
pub fn is_filtered(message: &[u8], filter: u32) -> bool {
    message.len() < HEADER || message.first().is_some_and(|kind| *kind < 32 && filter & (1 << *kind) != 0)
}

/// The same for ICMP6_FILTER, which has a bit for each of all types.
pub fn is_filtered_v6(message: &[u8], filter: &[u32; 8]) -> bool {
    let Some(kind) = message.first() else { return true };
    filter.get(usize::from(*kind >> 5)).is_some_and(|word| word & (1 << (*kind & 31)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(kind: u8, version: Version) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0, 0x12, 0x34, 0, 1, b'o', b'd', b'd'];
        fill_checksum(&mut message, version);
        message
    }

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        // Its own example, as the body of a message.
        assert_eq!(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn an_echo_is_answered_with_its_own_bytes() {
        let mut message = echo(ECHO, Version::V4);
        assert!(is_echo(&message, false) && !is_echo(&message, true));
        assert!(turn_into_answer(&mut message, Version::V4, 0));
        assert!(is_valid(&message, Version::V4));
        assert_eq!(answered_ident(&message, Version::V4), Some(0x1234));
        assert_eq!(&message[8..], b"odd");
        // And an answer is not.
        assert!(!turn_into_answer(&mut message, Version::V4, 0));
    }

    #[test]
    fn over_ipv6_the_addresses_count_and_change_places() {
        let (from, to) = (Ipv6Addr::LOCALHOST, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
        let mut message = echo(ECHO_V6, Version::V6 { from, to });
        assert!(!is_valid(&message, Version::V6 { from, to: from }));
        assert!(turn_into_answer(&mut message, Version::V6 { from, to }, 0));
        let back = Version::V6 { from: to, to: from };
        assert!(is_valid(&message, back));
        assert_eq!(answered_ident(&message, back), Some(0x1234));
    }

    #[test]
    fn what_is_broken_or_too_short_is_not_answered() {
        let mut message = echo(ECHO, Version::V4);
        message[9] ^= 1;
        assert!(!turn_into_answer(&mut message, Version::V4, 0));
        for length in 0..HEADER {
            assert!(!turn_into_answer(&mut vec![0; length], Version::V4, 0));
        }
        let mut short = echo(TIMESTAMP, Version::V4);
        assert!(!turn_into_answer(&mut short, Version::V4, 0));
    }

    #[test]
    fn the_time_is_told_to_who_asks() {
        let mut message = vec![TIMESTAMP, 0, 0, 0, 1, 2, 0, 1, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0];
        fill_checksum(&mut message, Version::V4);
        assert!(turn_into_answer(&mut message, Version::V4, 0x0102_0304));
        assert_eq!(message[0], TIMESTAMP_REPLY);
        assert_eq!(&message[8..], [9, 9, 9, 9, 1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn an_ident_is_replaced() {
        let mut message = echo(ECHO, Version::V4);
        set_ident(&mut message, 7, Version::V4);
        assert!(is_valid(&message, Version::V4));
        assert_eq!(message[4..6], [0, 7]);
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header =
            Ipv4Header { tos: 0x10, ttl: 3, from: Ipv4Addr::LOCALHOST, to: Ipv4Addr::new(10, 0, 2, 2) };
        let mut packet = header.bytes(3, 9).to_vec();
        assert_eq!(add(0, &packet), 0xffff);
        packet.extend_from_slice(b"abc");
        assert_eq!(Ipv4Header::parse(&packet), Some((header, 20)));
        packet[0] = 0x4f;
        assert_eq!(Ipv4Header::parse(&packet), None);
        assert_eq!(Ipv4Header::parse(&packet[..19]), None);
        packet[0] = 0x65;
        assert_eq!(Ipv4Header::parse(&packet), None);
    }

    #[test]
    fn filters_keep_what_they_name() {
        let message = echo(ECHO, Version::V4);
        assert!(is_filtered(&message, 1 << 8) && !is_filtered(&message, !(1 << 8)));
        assert!(is_filtered(&message[..7], 0));
        let mut filter = [0; 8];
        filter[4] = 1;
        assert!(is_filtered_v6(&echo(ECHO_V6, Version::V4), &filter));
        assert!(!is_filtered_v6(&echo(ECHO_REPLY_V6, Version::V4), &filter));
        assert!(is_filtered_v6(&[], &filter));
    }
}
