// SPDX-License-Identifier: MIT OR Apache-2.0
//! Datagrams to other machines. One goes at once if it is known where its receiver is; if that is asked for, it waits for the answer a while.

use alloc::{collections::VecDeque, vec::Vec};

use smoltcp::{
    iface::{SocketSet, SocketStorage},
    socket::udp,
    wire::IpAddress,
};

use super::{
    NetworkError,
    link::{Link, instant},
    places::Remote,
};

/// Most that wait.
const MOST: usize = 64;
/// Headers of IPv4 and UDP.
pub(super) const HEADERS: usize = 28;
/// How often is asked where a receiver is, and when again, in nanoseconds.
const TRIES: u8 = 3;
const AGAIN_NS: u64 = 1_000_000_000;

/// A datagram that waits.
struct Waiting {
    from: u16,
    to: Remote,
    bytes: Vec<u8>,
    tries: u8,
    due: u64,
}

/// Those of an interface.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
}

/// Whether a datagram went.
pub(super) fn send(
    link: &mut Link,
    from: u16,
    to: Remote,
    bytes: &mut [u8],
    now_ns: u64,
) -> Result<bool, NetworkError> {
    let (mut storage, length) = ([SocketStorage::EMPTY], bytes.len());
    let (mut received, mut sent) = ([], [udp::PacketMetadata::EMPTY]);
    let mut socket = udp::Socket::new(
        udp::PacketBuffer::new(&mut received[..], &mut [][..]),
        udp::PacketBuffer::new(&mut sent[..], bytes),
    );
    socket.bind(from).map_err(|_| NetworkError::Unreachable)?;
    // The buffer is the datagram: it keeps what is in it.
    socket
        .send_with(length, (IpAddress::Ipv4(to.0), to.1), |room| room.len())
        .map_err(|_| NetworkError::Unreachable)?;
    let mut sockets = SocketSet::new(&mut storage[..]);
    let handle = sockets.add(socket);
    link.flush(instant(now_ns), &mut sockets);
    Ok(sockets.get::<udp::Socket<'_>>(handle).send_queue() == 0)
}

impl Outbox {
    /// Keeps one that could not be sent; without room for it, it is lost.
    pub(super) fn keep(&mut self, from: u16, to: Remote, bytes: Vec<u8>, now_ns: u64) {
        if self.waiting.len() < MOST && self.waiting.try_reserve(1).is_ok() {
            let due = now_ns.saturating_add(AGAIN_NS);
            self.waiting.push_back(Waiting { from, to, bytes, tries: 0, due });
        }
    }

    /// When one is to be tried again.
    pub(super) fn due(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.due).min()
    }

    /// Sends those that can be sent now, and gives up those that waited for too long. Something `has_come` that may say where receivers are.
    pub(super) fn flush(&mut self, link: &mut Link, now_ns: u64, has_come: bool) {
        if self.waiting.is_empty() {
            return;
        }
        self.waiting.retain_mut(|waiting| {
            let is_due = waiting.due <= now_ns;
            if !is_due && !has_come {
                return true;
            }
            let Waiting { from, to, bytes, .. } = waiting;
            if !matches!(send(link, *from, *to, bytes, now_ns), Ok(false)) {
                return false;
            }
            if is_due {
                waiting.tries += 1;
                waiting.due = now_ns.saturating_add(AGAIN_NS);
            }
            waiting.tries < TRIES
        });
    }
}
