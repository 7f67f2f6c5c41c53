// SPDX-License-Identifier: MIT OR Apache-2.0
//! Datagrams to and from other machines. To whom one goes is looked for when it comes, as for those within the machine.

use core::net::Ipv4Addr;

use alloc::{sync::Arc, vec::Vec};

use exo_drivers::network::{self, NetworkError, interface::Interface, sockets::Remote};
use exo_hal::time;

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
};

/// Sends a datagram from a port.
///
/// # Errors
/// ENETUNREACH, EMSGSIZE: there are no fragments.
pub(super) fn send(from: u16, to: (Ipv4Addr, u16), bytes: Vec<u8>) -> Result<()> {
    let (interface, _) = interfaces::way_to(to.0).ok_or(Errno::ENETUNREACH)?;
    interface.send_datagram(from, to, bytes, time::now_ns()).map_err(|error| match error {
        NetworkError::TooLong => Errno::EMSGSIZE,
        _ => Errno::ENETUNREACH,
    })?;
    // If it waits until it is known where the other machine is, the time for that has come sooner than anything else.
    interfaces::call_thread();
    Ok(())
}

/// One has come.
pub(in crate::inet) fn take(interface: &Arc<Interface>, datagram: network::Datagram) {
    let endpoint = |(ip, port): Remote| Endpoint { ip: ip.to_ipv6_mapped(), port };
    let (from, to) = (endpoint(datagram.from()), endpoint(datagram.to()));
    match PORTS.find(to, from, false) {
        Some(receiver) => {
            let [ttl, tos] = datagram.travel();
            let number = interfaces::number_of(interface);
            let at = stamp(&receiver.settings);
            let how = fallible::boxed(Circumstances { to: to.ip, interface: number, ttl, tos, at }).ok();
            deliver(&receiver, Datagram { bytes: datagram.into_bytes(), from, how });
        }
        None => interface.refuse_datagram(datagram, time::now_ns()),
    }
}
