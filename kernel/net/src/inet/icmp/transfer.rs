// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending and receiving. A packet is filled from the program's memory with nothing locked.

use alloc::sync::Arc;

use exo_logic::icmp;
use linux_raw_sys::net::MSG_TRUNC;

use super::{
    arrive::{Way, within},
    outside,
    socket::{IcmpSocket, Packet},
};
use crate::{
    address::Address,
    errno::{Errno, Result},
    inet::{
        circumstances::{Said, said, told},
        datagrams::{append, give},
        endpoint::{Endpoint, Family, is_any},
        local,
    },
    io_buf::{IoBuf, IoSource},
    patience::Patience,
    socket::{ControlMessage, How, Received, Told},
};

/// Bytes of an address of IPv6 that has all its parts.
const WHOLE_V6: usize = 28;

fn destination(socket: &IcmpSocket, address: Option<&Address>) -> Result<Endpoint> {
    let Some(address) = address else {
        let peer = { socket.state().binding.peer };
        return peer.ok_or(Errno::EDESTADDRREQ);
    };
    // As on Linux, where pings want the whole structure.
    if !socket.is_raw && socket.family == Family::V6 && address.bytes().len() < WHOLE_V6 {
        return Err(Errno::EINVAL);
    }
    let to = Endpoint::of(address, socket.family)?;
    if socket.family == Family::V6 && to.ip.to_ipv4_mapped().is_some() {
        return Err(Errno::ENETUNREACH);
    }
    Ok(Endpoint { ip: local::destination(to.ip), ..to })
}

/// Sends a message.
///
/// # Errors
/// EINVAL for what is no echo request, EMSGSIZE, EDESTADDRREQ, ENETUNREACH, EPIPE, the error that is to be reported; those of copying.
pub(super) fn send(
    socket: &Arc<IcmpSocket>,
    how: How,
    address: Option<&Address>,
    control: &[ControlMessage],
    from: &mut IoSource<'_>,
) -> Result {
    // As on Linux a ping gets its ident first, whatever becomes of this.
    let own = socket.place()?;
    let length = from.left();
    if length > usize::from(u16::MAX) {
        return Err(Errno::EMSGSIZE);
    }
    if !socket.is_raw && length < icmp::HEADER {
        return Err(Errno::EINVAL);
    }
    if how.out_of_band {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut first = [0; icmp::HEADER];
    let is_v6 = socket.family == Family::V6;
    if !socket.is_raw {
        from.take_all(&mut first)?;
        if !icmp::is_echo(&first, is_v6) {
            return Err(Errno::EINVAL);
        }
    }
    let to = destination(socket, address)?;
    let Said { source, ttl, tos } = said(control, !is_v6)?;
    let route = local::way(to.ip)?;
    let ip = source.unwrap_or(if is_any(own.ip) { route.source } else { own.ip });
    let [usual_ttl, usual_tos] = socket.settings.travel(!is_v6);
    let way = Way { from: ip, to: to.ip, ttl: ttl.unwrap_or(usual_ttl), tos: tos.unwrap_or(usual_tos) };
    socket.state().inbox.check_send()?;
    let mut packet = way.packet(length)?;
    let start = packet.len();
    if !socket.is_raw {
        packet.extend_from_slice(&first);
    }
    append(&mut packet, from.left(), from)?;
    let message = packet.get_mut(start..).unwrap_or_default();
    if !socket.is_raw {
        icmp::set_ident(message, own.port, way.version());
    } else if is_v6 && length >= icmp::HEADER / 2 {
        icmp::fill_checksum(message, way.version());
    }
    match route.outside {
        Some(target) => outside::send(socket, target, &packet)?,
        None => within(way, packet),
    }
    Ok(length)
}

/// Receives a message, as much of it as `to` has room for.
///
/// # Errors
/// The error that is to be reported; those of waiting and of copying.
pub(super) fn receive(
    socket: &IcmpSocket,
    how: How,
    to: &mut IoBuf<'_>,
    tell: Option<&mut Told>,
) -> Result<Received> {
    if how.out_of_band {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut patience = Patience::new(how.no_wait, socket.common.receive_timeout());
    let packet = patience
        .wait(&socket.receivable, || socket.state().inbox.take(&how, &socket.queued, Packet::cost))?;
    let Some(packet) = packet else { return Ok(Received::default()) };
    let whole = packet.of(socket);
    let bytes = give(whole, to)?;
    let from = Endpoint { ip: packet.from, port: 0 };
    let from = if how.wants_address { Some(from.address(socket.family)?) } else { None };
    // As on Linux, MSG_TRUNC tells the whole length of a raw socket's message alone, and the message's flags say that it was cut.
    let length = if how.discard && !socket.is_raw { bytes } else { whole.len() };
    if let Some(tell) = tell {
        told(&socket.settings, socket.family, &packet.how, 0, tell)?;
        if whole.len() > bytes {
            tell.flags |= MSG_TRUNC;
        }
    }
    Ok(Received { bytes, length, from, ..Received::default() })
}
