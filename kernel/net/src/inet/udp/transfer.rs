// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending and receiving. A datagram is filled from the program's memory with nothing locked, and then put into its receiver's queue; one for
//! which there is no room there is lost.

use core::net::Ipv4Addr;

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use super::{
    errors, outside,
    socket::{Datagram, PORTS, UdpSocket},
};
use crate::{
    address::Address,
    errno::{Errno, Result},
    fallible,
    inet::{
        circumstances::{Circumstances, LOOPBACK, Said, said, stamp, told},
        datagrams::{Bound as _, append, cost, give},
        endpoint::{Endpoint, is_any},
        local,
    },
    io_buf::{IoBuf, IoSource},
    patience::Patience,
    socket::{ControlMessage, How, Received, Told},
};

/// Most bytes of a datagram: a packet's, without its headers.
const MOST_V4: usize = 65_507;
const MOST_V6: usize = 65_527;

/// Where a datagram goes, and whether that is where the socket is connected.
#[inline(always)]
fn destination(socket: &UdpSocket, address: Option<&Address>) -> Result<(Endpoint, bool)> {
    let Some(address) = address else {
        let peer = { socket.state().binding.peer };
        return peer.map(|peer| (peer, true)).ok_or(Errno::EDESTADDRREQ);
    };
    let to = Endpoint::of_either(address, socket.family)?;
    if to.port == 0 {
        return Err(Errno::EINVAL);
    }
    if socket.settings.is_only_v6() && to.ip.to_ipv4_mapped().is_some() {
        return Err(Errno::ENETUNREACH);
    }
    Ok((Endpoint { ip: local::destination(to.ip), ..to }, false))
}

/// Sends a datagram.
///
/// # Errors
/// EMSGSIZE, EDESTADDRREQ, ENETUNREACH, EPIPE, the error that is to be reported; those of copying.
// Twice in the code, so that who has no control messages does not pay for them.
#[inline(always)]
pub(super) fn send(
    socket: &Arc<UdpSocket>,
    how: How,
    address: Option<&Address>,
    control: &[ControlMessage],
    from: &mut IoSource<'_>,
) -> Result {
    // As on Linux it gets its port first, whatever becomes of this.
    let own = socket.find_local()?;
    let length = from.left();
    if length > usize::from(u16::MAX) {
        return Err(Errno::EMSGSIZE);
    }
    if how.out_of_band {
        return Err(Errno::EOPNOTSUPP);
    }
    let (to, is_peer) = destination(socket, address)?;
    let is_v4 = to.ip.to_ipv4_mapped().is_some();
    let said = if control.is_empty() { None } else { Some(said(control, is_v4)?) };
    let way = local::way(to.ip)?;
    let chosen = said.as_ref().and_then(|said| said.source);
    let ip = chosen.unwrap_or(if is_any(own.ip) { way.source } else { own.ip });
    if ip.to_ipv4_mapped().is_some() != is_v4 {
        return Err(Errno::ENETUNREACH);
    }
    let most = if is_v4 { MOST_V4 } else { MOST_V6 };
    if length > most {
        return Err(Errno::EMSGSIZE);
    }
    socket.state().inbox.check_send()?;
    let mut bytes = fallible::list(length)?;
    append(&mut bytes, length, from)?;
    let source = Endpoint { ip, ..own };
    if let Some(target) = way.outside {
        return send_out(own.port, (target, to.port), bytes);
    }
    match PORTS.find(to, source, false) {
        Some(receiver) => {
            let how = match receiver.settings.told() {
                0 => None,
                _ => circumstances(socket, &receiver, to, said.as_ref()),
            };
            deliver(&receiver, Datagram { bytes, from: source, how });
        }
        None => errors::refused(socket, is_peer, to, bytes),
    }
    Ok(length)
}

/// Sends a datagram to another machine.
#[inline(never)]
fn send_out(from: u16, to: (Ipv4Addr, u16), bytes: Vec<u8>) -> Result {
    let length = bytes.len();
    outside::send(from, to, bytes)?;
    Ok(length)
}

/// How a datagram comes to a receiver that asks; without memory for it that is not told.
#[cold]
fn circumstances(
    sender: &UdpSocket,
    receiver: &UdpSocket,
    to: Endpoint,
    said: Option<&Said>,
) -> Option<Box<Circumstances>> {
    let [ttl, tos] = sender.settings.travel(to.ip.to_ipv4_mapped().is_some());
    let how = Circumstances {
        to: to.ip,
        interface: LOOPBACK,
        ttl: said.and_then(|said| said.ttl).unwrap_or(ttl),
        tos: said.and_then(|said| said.tos).unwrap_or(tos),
        at: stamp(&receiver.settings),
    };
    fallible::boxed(how).ok()
}

/// What a socket is told of a datagram.
#[cold]
fn tell_of(socket: &UdpSocket, datagram: &Datagram, tell: &mut Told) -> Result<()> {
    let at = { socket.state().binding.local }.unwrap_or(Endpoint::any(socket.family));
    let how = match &datagram.how {
        Some(how) => **how,
        None => Circumstances::unasked(at),
    };
    told(&socket.settings, socket.family, &how, at.port, tell)
}

/// Puts a datagram into a queue; without room for it it is lost, as any may be.
#[inline]
pub(super) fn deliver(receiver: &UdpSocket, datagram: Datagram) {
    let cost = cost(datagram.bytes.len());
    let Ok(datagram) = fallible::arc(datagram) else { return };
    let limit = receiver.common.receive_buffer() as usize;
    // Dropped without the lock.
    let lost = { receiver.state().inbox.add(datagram, cost, &receiver.queued, limit) };
    if lost.is_ok() {
        receiver.tell_receivers();
    }
}

/// Receives a datagram, as much of it as `to` has room for.
///
/// # Errors
/// The error that is to be reported; those of waiting and of copying.
pub(super) fn receive(
    socket: &UdpSocket,
    how: How,
    to: &mut IoBuf<'_>,
    tell: Option<&mut Told>,
) -> Result<Received> {
    let mut patience = Patience::new(how.no_wait, socket.common.receive_timeout());
    let datagram = patience.wait(&socket.receivable, || {
        socket.state().inbox.take(&how, &socket.queued, |datagram| cost(datagram.bytes.len()))
    })?;
    let Some(datagram) = datagram else { return Ok(Received::default()) };
    let length = datagram.bytes.len();
    let bytes = give(&datagram.bytes, to)?;
    let from = if how.wants_address { Some(datagram.from.address(socket.family)?) } else { None };
    if let Some(tell) = tell {
        if socket.settings.told() != 0 {
            tell_of(socket, &datagram, tell)?;
        }
    }
    Ok(Received { bytes, length, from, ..Received::default() })
}
