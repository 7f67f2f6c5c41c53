// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes to an interface and is not for a connection that is there: who listens at a port is the owner's to know, and so it decides what becomes
//! of it.

use core::ops::Range;

use alloc::vec::Vec;

use smoltcp::wire::Ipv4Packet;

use super::{classify::Key, places::Remote};

/// Most that wait for the owner.
pub(super) const MOST_ARRIVALS: usize = 256;

/// What has come.
#[derive(Debug)]
pub enum Arrived {
    /// Another machine asks for a connection: it is answered, refused or dropped.
    Opens(Request),
    /// One that was answered says so: the connection is there as soon as it is established.
    Completes(Request),
    /// A datagram.
    Datagram(Datagram),
}

/// A segment for a connection that is not there yet.
#[derive(Debug)]
pub struct Request {
    pub(super) frame: Vec<u8>,
    pub(super) key: Key,
}

/// A datagram.
#[derive(Debug)]
pub struct Datagram {
    pub(super) frame: Vec<u8>,
    key: Key,
    packet: usize,
    bytes: Range<usize>,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// What is random about it.
    pub seed: u64,
    /// Bytes of the connection's buffer for what is received.
    pub receive: usize,
    /// Most that are answered and not yet there at this port; it may be more if that is few.
    pub most: usize,
}

impl Arrived {
    pub(super) fn opens(frame: Vec<u8>, key: Key) -> Self {
        Self::Opens(Request { frame, key })
    }

    pub(super) fn completes(frame: Vec<u8>, key: Key) -> Self {
        Self::Completes(Request { frame, key })
    }

    /// The packet begins at `packet`, and what it carries is in `bytes`.
    pub(super) fn datagram(frame: Vec<u8>, key: Key, packet: usize, bytes: Range<usize>) -> Self {
        Self::Datagram(Datagram { frame, key, packet, bytes })
    }
}

impl Request {
    /// Who wants to connect.
    pub fn from(&self) -> Remote {
        self.key.remote
    }

    /// Where to.
    pub fn to(&self) -> Remote {
        self.key.own
    }
}

impl Datagram {
    /// Who has sent it.
    pub fn from(&self) -> Remote {
        self.key.remote
    }

    /// Where to.
    pub fn to(&self) -> Remote {
        self.key.own
    }

    /// What its header says: how many machines may still forward it, and how it is to be treated (TTL, TOS).
    pub fn travel(&self) -> [u8; 2] {
        let packet = self.frame.get(self.packet..).and_then(|packet| Ipv4Packet::new_checked(packet).ok());
        packet.map_or([0; 2], |packet| [packet.hop_limit(), (packet.dscp() << 2) | packet.ecn()])
    }

    /// What it carries, without a copy of it.
    pub fn into_bytes(self) -> Vec<u8> {
        let Self { mut frame, bytes, .. } = self;
        frame.truncate(bytes.end);
        frame.drain(..bytes.start.min(frame.len()));
        frame
    }
}
