// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to and from other machines: a gate is where an interface takes and gives them, which all sockets share.

use core::net::Ipv4Addr;

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_drivers::network::{NetworkError, icmp::Pings, interface::Interface};
use exo_hal::sync::SpinLock;
use exo_logic::icmp::Ipv4Header;

use super::{
    arrive::{Way, arrive},
    socket::IcmpSocket,
};
use crate::{
    errno::{Errno, Result},
    fallible, interfaces,
    sched::spans,
};

/// Bytes of a gate's buffers, for each direction.
const BUFFER: usize = 32 << 10;
/// Bytes of a packet, at most: there are no fragments.
const MOST: usize = 1500;

/// Where an interface takes and gives messages.
pub(super) struct Gate {
    interface: Arc<Interface>,
    pings: Option<Pings>,
}

static GATES: SpinLock<Vec<Weak<Gate>>> = SpinLock::new(Vec::new());

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(pings) = self.pings.take() {
            self.interface.close_pings(pings);
        }
    }
}

/// The gate of an interface.
///
/// # Errors
/// ENOMEM, ENOBUFS if the interface has no more sockets.
fn gate(interface: &Arc<Interface>) -> Result<Arc<Gate>> {
    let known = {
        let gates = GATES.lock();
        let is_it = |gate: &Arc<Gate>| Arc::ptr_eq(&gate.interface, interface);
        gates.iter().filter_map(Weak::upgrade).find(is_it)
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let buffer = || -> Result<Vec<u8>> {
        let mut buffer = fallible::list(BUFFER)?;
        buffer.resize(BUFFER, 0);
        Ok(buffer)
    };
    let pings = interface.open_pings([buffer()?, buffer()?]).map_err(|_| Errno::ENOBUFS)?;
    let gate = fallible::arc(Gate { interface: interface.clone(), pings: Some(pings) })?;
    let mut gates = GATES.lock();
    gates.retain(|gate| gate.strong_count() > 0);
    fallible::push(&mut gates, Arc::downgrade(&gate))?;
    drop(gates);
    Ok(gate)
}

/// The gates of all interfaces, for who gets everything that comes.
///
/// # Errors
/// As [`gate`].
pub(super) fn gates() -> Result<Vec<Arc<dyn Send + Sync>>> {
    let mut all: Vec<Arc<dyn Send + Sync>> = Vec::new();
    for interface in interfaces::to_others() {
        fallible::push(&mut all, gate(&interface)?)?;
    }
    Ok(all)
}

/// Sends a packet; the socket keeps the gate, and so hears answers.
///
/// # Errors
/// ENETUNREACH, EMSGSIZE, EAGAIN if too much waits to be sent; those of making a gate.
pub(super) fn send(socket: &IcmpSocket, to: Ipv4Addr, packet: &[u8]) -> Result<()> {
    let (interface, _) = interfaces::way_to(to).ok_or(Errno::ENETUNREACH)?;
    let gate = gate(&interface)?;
    let pings = gate.pings.as_ref().ok_or(Errno::ENETUNREACH)?;
    interface.send_packet(pings, to, packet).map_err(|error| match error {
        NetworkError::QueueFull => Errno::EAGAIN,
        NetworkError::TooLong => Errno::EMSGSIZE,
        _ => Errno::ENETUNREACH,
    })?;
    let kept: Arc<dyn Send + Sync> = gate.clone();
    let mut state = socket.state();
    let is_known = state.gates.iter().any(|known| Arc::ptr_eq(known, &kept));
    if !is_known {
        fallible::push(&mut state.gates, kept)?;
    }
    drop(state);
    interfaces::call_thread();
    Ok(())
}

/// Gives what has come to the sockets that it is for.
pub(super) fn take_all() {
    let count = GATES.lock().len();
    if count == 0 {
        return;
    }
    let mut bytes = [0; MOST];
    for place in 0..count {
        let gate = { GATES.lock().get(place).and_then(Weak::upgrade) };
        let Some(gate) = gate else { continue };
        let Some(pings) = &gate.pings else { continue };
        let number = interfaces::number_of(&gate.interface);
        while let Some(length) = gate.interface.receive_packet(pings, &mut bytes) {
            let packet = bytes.get(..length).unwrap_or_default();
            let Some((Ipv4Header { tos, ttl, from, to }, start)) = Ipv4Header::parse(packet) else {
                continue;
            };
            let way = Way { from: from.to_ipv6_mapped(), to: to.to_ipv6_mapped(), ttl, tos };
            let Ok(mut copy) = fallible::list(packet.len()) else { continue };
            copy.extend_from_slice(packet);
            arrive(&way, copy, start, number);
            spans::window();
        }
    }
}
