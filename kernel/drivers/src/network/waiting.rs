// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports at which somebody waits for connections. smoltcp answers a request for a connection that no socket waits for with a reset. At these ports
//! that means only that more came at once than there are sockets: such a request is dropped, and the other machine sends it again, as it does when
//! a backlog of Linux is full.

use alloc::vec::Vec;

use smoltcp::{
    iface::SocketSet,
    socket::{AnySocket, tcp},
    wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket},
};

/// Some sockets wait at each; a port is here once for each who has said so.
#[derive(Default)]
pub(super) struct Waiting(Vec<u16>);

impl Waiting {
    pub(super) fn add(&mut self, port: u16) -> bool {
        let has_room = self.0.try_reserve(1).is_ok();
        if has_room {
            self.0.push(port);
        }
        has_room
    }

    pub(super) fn remove(&mut self, port: u16) {
        if let Some(at) = self.0.iter().position(|other| *other == port) {
            self.0.swap_remove(at);
        }
    }

    /// Whether this is a request for a connection to one of them, and no socket waits for it now.
    pub(super) fn is_to_be_dropped(&self, frame: &[u8], sockets: &SocketSet<'_>) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let Some(port) = requested(frame).filter(|port| self.0.contains(port)) else { return false };
        !sockets.iter().any(|(_, socket)| {
            tcp::Socket::downcast(socket).is_some_and(|socket| {
                socket.state() == tcp::State::Listen && socket.listen_endpoint().port == port
            })
        })
    }
}

/// The port that an Ethernet frame asks for a connection to.
fn requested(frame: &[u8]) -> Option<u16> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    if packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    (segment.syn() && !segment.ack()).then(|| segment.dst_port())
}
