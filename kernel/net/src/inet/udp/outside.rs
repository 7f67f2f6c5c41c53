// SPDX-License-Identifier: MIT OR Apache-2.0
//! Datagrams to and from other machines: a gate is a port of an interface, which sockets with that port share.

use core::net::Ipv4Addr;

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_drivers::network::{NetworkError, interface::Interface, sockets::Port};
use exo_hal::sync::SpinLock;

use super::{
    socket::{Datagram, PORTS},
    transfer::deliver,
};
use crate::{
    errno::{Errno, Result},
    fallible,
    inet::{
        circumstances::{Circumstances, stamp},
        endpoint::Endpoint,
    },
    interfaces,
    sched::spans,
};

/// Bytes of a gate's buffers, for each direction.
const BUFFER: usize = 32 << 10;
/// Bytes of a datagram, at most: there are no fragments.
const MOST: usize = 1472;
/// What most machines send with.
const TTL: u8 = 64;

/// A port of an interface.
pub(super) struct Gate {
    interface: Arc<Interface>,
    number: u16,
    port: Option<Port>,
}

static GATES: SpinLock<Vec<Weak<Gate>>> = SpinLock::new(Vec::new());

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(port) = self.port.take() {
            self.interface.close_port(port);
        }
    }
}

/// The gate at a port of an interface.
///
/// # Errors
/// ENOMEM, ENOBUFS if the interface has no more sockets.
fn gate(interface: &Arc<Interface>, number: u16) -> Result<Arc<Gate>> {
    let known = {
        let gates = GATES.lock();
        let is_it = |gate: &Arc<Gate>| gate.number == number && Arc::ptr_eq(&gate.interface, interface);
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
    let port = interface.open_port(number, [buffer()?, buffer()?]).map_err(|_| Errno::ENOBUFS)?;
    let gate = fallible::arc(Gate { interface: interface.clone(), number, port: Some(port) })?;
    let mut gates = GATES.lock();
    gates.retain(|gate| gate.strong_count() > 0);
    fallible::push(&mut gates, Arc::downgrade(&gate))?;
    drop(gates);
    Ok(gate)
}

/// Sends a datagram from a port; the gate is to be kept as long as answers are awaited.
///
/// # Errors
/// ENETUNREACH, EMSGSIZE, EAGAIN if too much waits to be sent; those of making a gate.
pub(super) fn send(from: u16, to: (Ipv4Addr, u16), bytes: &[u8]) -> Result<Arc<Gate>> {
    if bytes.len() > MOST {
        return Err(Errno::EMSGSIZE);
    }
    let (interface, _) = interfaces::way_to(to.0).ok_or(Errno::ENETUNREACH)?;
    let gate = gate(&interface, from)?;
    let port = gate.port.as_ref().ok_or(Errno::ENETUNREACH)?;
    interface.send_datagram(port, to, bytes).map_err(|error| match error {
        NetworkError::QueueFull => Errno::EAGAIN,
        NetworkError::TooLong => Errno::EMSGSIZE,
        _ => Errno::ENETUNREACH,
    })?;
    interfaces::call_thread();
    Ok(gate)
}

/// Gives what has come to the sockets that it is for.
pub(super) fn take_all() {
    let mut bytes = [0; MOST];
    let count = GATES.lock().len();
    for place in 0..count {
        let gate = { GATES.lock().get(place).and_then(Weak::upgrade) };
        let Some(gate) = gate else { continue };
        let (Some(port), Some((own, _))) = (&gate.port, gate.interface.address()) else { continue };
        while let Some((length, from)) = gate.interface.receive_datagram(port, &mut bytes) {
            let to = Endpoint { ip: own.to_ipv6_mapped(), port: gate.number };
            let from = Endpoint { ip: from.0.to_ipv6_mapped(), port: from.1 };
            let Some(receiver) = PORTS.find(to, from, false) else { continue };
            let received = bytes.get(..length).unwrap_or_default();
            let Ok(mut copy) = fallible::list(received.len()) else { continue };
            copy.extend_from_slice(received);
            let how = fallible::boxed(Circumstances {
                to: to.ip,
                interface: interfaces::number_of(&gate.interface),
                // The interface does not tell more.
                ttl: TTL,
                tos: 0,
                at: stamp(&receiver.settings),
            })
            .ok();
            deliver(&receiver, Datagram { bytes: copy, from, how });
            spans::window();
        }
    }
}
