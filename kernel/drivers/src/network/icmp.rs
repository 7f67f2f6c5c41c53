// SPDX-License-Identifier: MIT OR Apache-2.0
//! ICMP packets of programs: all that come to an interface, and what they send, both with their IPv4 headers. The interface answers echo
//! requests itself whether or not anybody looks.

use core::net::Ipv4Addr;

use alloc::{vec, vec::Vec};

use smoltcp::{
    iface::SocketHandle,
    socket::raw,
    wire::{IpProtocol, IpVersion},
};

use super::{
    NetworkError,
    interface::{Inner, Interface},
};

/// Packets that wait, in each direction.
const PACKETS: usize = 32;

/// Most sockets of an interface's own: each message that comes is looked at by all.
const MOST: usize = 16;

/// A place from where ICMP packets are sent, and where those that come are kept until they are taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Pings(SocketHandle);

impl Inner {
    fn raw(&mut self, pings: &Pings) -> &mut raw::Socket<'static> {
        self.own.get_mut(pings.0)
    }
}

impl Interface {
    /// Opens it with these buffers: for what is received, and for what is sent.
    ///
    /// # Errors
    /// [`NetworkError::QueueFull`] if there are too many sockets.
    pub fn open_pings(&self, buffers: [Vec<u8>; 2]) -> Result<Pings, NetworkError> {
        let [received, sent] =
            buffers.map(|bytes| raw::PacketBuffer::new(vec![raw::PacketMetadata::EMPTY; PACKETS], bytes));
        let socket = raw::Socket::new(IpVersion::Ipv4, IpProtocol::Icmp, received, sent);
        let mut inner = self.inner();
        if inner.own.iter().count() >= MOST {
            return Err(NetworkError::QueueFull);
        }
        Ok(Pings(inner.own.add(socket)))
    }

    /// Sends a packet, whose header says to whom, at the next poll.
    ///
    /// # Errors
    /// [`NetworkError::Unreachable`], [`NetworkError::TooLong`], [`NetworkError::QueueFull`].
    pub fn send_packet(&self, pings: &Pings, to: Ipv4Addr, packet: &[u8]) -> Result<(), NetworkError> {
        self.reaches(to).ok_or(NetworkError::Unreachable)?;
        if packet.len() > self.device().mtu() {
            return Err(NetworkError::TooLong);
        }
        self.inner().raw(pings).send_slice(packet).map_err(|_| NetworkError::QueueFull)
    }

    /// Takes a packet that has come, as far as there is room for it in `bytes`; its length.
    pub fn receive_packet(&self, pings: &Pings, bytes: &mut [u8]) -> Option<usize> {
        let mut inner = self.inner();
        let packet = inner.raw(pings).recv().ok()?;
        for (to, from) in bytes.iter_mut().zip(packet) {
            *to = *from;
        }
        Some(packet.len())
    }

    /// Closes it.
    pub fn close_pings(&self, pings: Pings) {
        self.inner().own.remove(pings.0);
    }
}
