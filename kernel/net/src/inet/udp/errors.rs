// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a datagram to a port where nobody is: its sender hears of it, and with IP_RECVERR gets it back by MSG_ERRQUEUE.

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, vec::Vec};

use linux_raw_sys::net;

use super::socket::UdpSocket;
use crate::{
    errno::{Errno, Result},
    fallible,
    inet::{
        datagrams::cost,
        endpoint::{Endpoint, Family},
    },
    io_buf::IoBuf,
    socket::{ControlMessage, How, Received, Told},
};

const IP: u32 = net::IPPROTO_IP as u32;
const IPV6: u32 = net::IPPROTO_IPV6 as u32;
const IP_RECVERR: u32 = 11;
const IPV6_RECVERR: u32 = 25;
/// Of a datagram so much comes back in an ICMP message, and in one of ICMPv6.
const MOST_V4: usize = 520;
const MOST_V6: usize = 1184;
/// Where an error is from (`SO_EE_ORIGIN_ICMP`, `SO_EE_ORIGIN_ICMP6`), and the type and code of such a message.
const PORT_UNREACHABLE: [u8; 3] = [2, 3, 3];
const PORT_UNREACHABLE_V6: [u8; 3] = [3, 1, 4];

/// A datagram that nobody took.
pub(super) struct Failed {
    bytes: Vec<u8>,
    to: Endpoint,
}

/// Nobody is at the port that a datagram was sent to, which is where the socket is connected if that `is_peer`.
#[cold]
pub(super) fn refused(socket: &UdpSocket, is_peer: bool, to: Endpoint, mut bytes: Vec<u8>) {
    let is_v4 = to.ip.to_ipv4_mapped().is_some();
    let hears = socket.settings.hears_errors(is_v4);
    if !is_peer && !hears {
        return;
    }
    bytes.truncate(if is_v4 { MOST_V4 } else { MOST_V6 });
    let cost = cost(bytes.len());
    let failed = if hears { fallible::boxed(Failed { bytes, to }).ok() } else { None };
    {
        let mut state = socket.state();
        state.inbox.error = Some(Errno::ECONNREFUSED);
        let queued = socket.queued.load(Ordering::Relaxed);
        let has_room = queued + cost < socket.common.receive_buffer() as usize;
        // Without room for it, it is lost, and the error is not.
        if let Some(failed) = failed.filter(|_| has_room && state.failed.try_reserve(1).is_ok()) {
            socket.queued.store(queued + cost, Ordering::Relaxed);
            state.failed.push_back(failed);
        }
    }
    socket.tell_receivers();
}

/// Receives what has failed (MSG_ERRQUEUE): the datagram, where it went, and why it did not arrive.
///
/// # Errors
/// EAGAIN if nothing has; those of copying.
#[cold]
pub(super) fn receive(socket: &UdpSocket, how: How, to: &mut IoBuf<'_>, told: &mut Told) -> Result<Received> {
    let failed: Box<Failed> = {
        let mut state = socket.state();
        let failed = state.failed.pop_front().ok_or(Errno::EAGAIN)?;
        // As on Linux, it was reported by this, and the next one has its turn.
        state.inbox.error = if state.failed.is_empty() { None } else { Some(Errno::ECONNREFUSED) };
        socket.queued.fetch_sub(cost(failed.bytes.len()), Ordering::Relaxed);
        failed
    };
    let length = failed.bytes.len();
    let bytes = length.min(to.left());
    to.put_all(failed.bytes.get(..bytes).unwrap_or_default())?;
    let from = if how.wants_address { Some(failed.to.address(socket.family)?) } else { None };
    fallible::push(&mut told.messages, explanation(socket.family, failed.to)?)?;
    told.flags |= net::MSG_ERRQUEUE;
    Ok(Received { bytes, length, from, ..Received::default() })
}

/// `struct sock_extended_err`, and behind it who has said so.
fn explanation(family: Family, to: Endpoint) -> Result<ControlMessage> {
    let [origin, kind, code] =
        if to.ip.to_ipv4_mapped().is_some() { PORT_UNREACHABLE } else { PORT_UNREACHABLE_V6 };
    let mut data = arrayvec::ArrayVec::new();
    data.extend((Errno::ECONNREFUSED.0 as u32).to_ne_bytes());
    data.extend([origin, kind, code, 0]);
    data.extend([0; 8]);
    data.extend(Endpoint { port: 0, ..to }.address(family)?.bytes().iter().copied());
    let (level, kind) = match family {
        Family::V4 => (IP, IP_RECVERR),
        Family::V6 => (IPV6, IPV6_RECVERR),
    };
    Ok(ControlMessage { level, kind, data })
}
