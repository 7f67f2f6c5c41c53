// SPDX-License-Identifier: MIT OR Apache-2.0
//! A packet has come to one of the machine's own addresses: raw sockets get it, an echo's answer goes to whose echo it was, and what asks is
//! answered.

use core::net::Ipv6Addr;

use alloc::{sync::Arc, vec::Vec};

use exo_hal::time;
use exo_logic::icmp::{self, IPV4_HEADER, Ipv4Header, Version};

use super::socket::{IcmpSocket, Packet, idents, raw};
use crate::{
    errno::{Errno, Result},
    fallible,
    inet::{
        circumstances::{Circumstances, LOOPBACK},
        endpoint::{Endpoint, Family},
    },
    random,
    sched::spans,
};

/// The time to live of answers.
const TTL: u8 = 64;
/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// From where to where a packet goes, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) from: Ipv6Addr,
    pub(super) to: Ipv6Addr,
    pub(super) ttl: u8,
    pub(super) tos: u8,
}

impl Way {
    fn family(&self) -> Family {
        if self.to.to_ipv4_mapped().is_some() { Family::V4 } else { Family::V6 }
    }

    /// As its message's checksum counts it.
    pub(super) fn version(&self) -> Version {
        match self.family() {
            Family::V4 => Version::V4,
            Family::V6 => Version::V6 { from: self.from, to: self.to },
        }
    }

    /// Room for a packet with a message of so many bytes, beginning with its header, if it has one.
    ///
    /// # Errors
    /// ENOMEM, EMSGSIZE.
    pub(super) fn packet(&self, length: usize) -> Result<Vec<u8>> {
        let mut bytes: Vec<u8> = fallible::list(length + IPV4_HEADER)?;
        if let (Some(from), Some(to)) = (self.from.to_ipv4_mapped(), self.to.to_ipv4_mapped()) {
            let mut ident = [0; 2];
            random::fill(&mut ident);
            let header = Ipv4Header { tos: self.tos, ttl: self.ttl, from, to };
            bytes.extend_from_slice(&header.bytes(length, u16::from_ne_bytes(ident)));
        }
        if length + bytes.len() > usize::from(u16::MAX) { Err(Errno::EMSGSIZE) } else { Ok(bytes) }
    }
}

fn start(family: Family) -> usize {
    if family == Family::V4 { IPV4_HEADER } else { 0 }
}

/// A packet of the machine's own has come, and what it asks is answered.
pub(super) fn within(way: Way, bytes: Vec<u8>) {
    let answer = answer(&way, &bytes);
    arrive(&way, bytes, start(way.family()), LOOPBACK);
    if let Some((way, answer)) = answer {
        arrive(&way, answer, start(way.family()), LOOPBACK);
    }
}

/// The answer to a packet, if it has one; without memory for it, it is lost, as any may be.
fn answer(way: &Way, bytes: &[u8]) -> Option<(Way, Vec<u8>)> {
    let message = bytes.get(start(way.family())..)?;
    let back = Way { from: way.to, to: way.from, ttl: TTL, tos: way.tos };
    let mut answer = back.packet(message.len()).ok()?;
    let start = answer.len();
    answer.extend_from_slice(message);
    let now = (time::wall_ns() / 1_000_000 % DAY) as u32;
    icmp::turn_into_answer(answer.get_mut(start..)?, way.version(), now).then_some((back, answer))
}

/// Gives a packet, whose message begins at `start`, to the sockets that it is for.
pub(super) fn arrive(way: &Way, bytes: Vec<u8>, start: usize, interface: u32) {
    let how = Circumstances { to: way.to, interface, ttl: way.ttl, tos: way.tos, at: time::wall_ns() };
    let Ok(packet) = fallible::arc(Packet { bytes, start, from: way.from, how }) else { return };
    let family = way.family();
    let mut place = 0;
    while let Some(socket) = raw(place) {
        place += 1;
        if let Some(socket) = socket.filter(|socket| socket.family == family && socket.wants(&packet)) {
            deliver(&socket, &packet);
        }
        spans::window();
    }
    if !icmp::is_valid(packet.message(), way.version()) {
        return;
    }
    if let Some(ident) = icmp::answered_ident(packet.message(), way.version()) {
        let (to, from) = (Endpoint { ip: way.to, port: ident }, Endpoint { ip: way.from, port: 0 });
        if let Some(socket) = idents(family).find(to, from, false) {
            deliver(&socket, &packet);
        }
    }
}

/// Puts a packet into a queue; without room for it it is lost.
fn deliver(receiver: &IcmpSocket, packet: &Arc<Packet>) {
    let limit = receiver.common.receive_buffer() as usize;
    let is_there =
        { receiver.state().inbox.add(packet.clone(), packet.cost(), &receiver.queued, limit).is_ok() };
    if is_there {
        receiver.tell_receivers();
    }
}
