// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs ask about a connection: its state, and options that are about packets, of which there are none.

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use linux_raw_sys::net;

use super::socket::{Phase, TcpSocket};
use crate::{
    errno::{Errno, Result},
    inet::line::Line,
    socket::{Value, value},
};

const TCP: u32 = net::IPPROTO_TCP as u32;
const IPV6: u32 = net::IPPROTO_IPV6 as u32;
const MAXSEG: u32 = 2;
const INFO: u32 = 11;
const CONGESTION: u32 = 13;
const V6ONLY: u32 = 26;
/// Bytes of TCP_INFO that are there: Linux has had so many since 4.19.
const INFO_SIZE: usize = 232;
/// Of a segment: without a connection as on Linux, and with one on its loopback.
const SEGMENT: u32 = 536;
const LOOPBACK_SEGMENT: u32 = 65_483;
/// The longest name of an algorithm.
const LONGEST_NAME: usize = 16;

/// States, by Linux's numbers.
mod state {
    pub(super) const ESTABLISHED: u8 = 1;
    pub(super) const SYN_SENT: u8 = 2;
    pub(super) const FIN_WAIT2: u8 = 5;
    pub(super) const CLOSE: u8 = 7;
    pub(super) const CLOSE_WAIT: u8 = 8;
    pub(super) const LISTEN: u8 = 10;
}

/// A socket's state, by Linux's number.
pub(super) fn state(socket: &TcpSocket) -> u8 {
    if let Some(end) = socket.end() {
        return end.with(|own, _| match (own.is_over(), own.has_finished, own.is_finished) {
            (true, ..) => state::CLOSE,
            (_, true, _) => state::FIN_WAIT2,
            (_, _, true) => state::CLOSE_WAIT,
            _ => state::ESTABLISHED,
        });
    }
    match socket.state().phase {
        Phase::Listening(_) => state::LISTEN,
        Phase::Connecting(_) | Phase::Reaching(_) => state::SYN_SENT,
        _ => state::CLOSE,
    }
}

/// What /proc/net/tcp says of it; nothing if it is neither connected nor listens.
pub(super) fn line(socket: &Arc<TcpSocket>) -> Option<Line> {
    let number = state(socket);
    if number == state::CLOSE {
        return None;
    }
    let (mut remote, mut waiting) = (None, 0);
    if let Some(end) = socket.end() {
        remote = Some(end.remote());
        waiting = end.with(|own, _| own.inbox.readable);
    }
    let local = {
        let state = socket.state();
        match &state.phase {
            Phase::Listening(backlog) => waiting = backlog.connections.len(),
            Phase::Connecting(_) | Phase::Reaching(_) => remote = state.remote,
            _ => {}
        }
        state.local?
    };
    Some(Line {
        local,
        remote,
        state: number,
        waiting,
        user: socket.user,
        inode: socket.common.inode.load(Ordering::Relaxed),
        // Not this reference.
        references: Arc::strong_count(socket) - 1,
        left_ns: 0,
    })
}

/// An option that is no number that is kept.
pub(super) fn option(socket: &TcpSocket, level: u32, number: u32) -> Option<Result<Value>> {
    if level != TCP {
        return None;
    }
    let segment = match socket.settings.segment() {
        _ if socket.end().is_some() => LOOPBACK_SEGMENT,
        0 => SEGMENT,
        chosen => chosen,
    };
    match number {
        MAXSEG => Some(Ok(value(&segment.to_ne_bytes()))),
        CONGESTION => Some(Ok(value(b"cubic\0\0\0\0\0\0\0\0\0\0\0"))),
        INFO => {
            let mut bytes = [0; INFO_SIZE];
            if let Some(first) = bytes.first_mut() {
                *first = state(socket);
            }
            // tcpi_snd_mss.
            if let Some(place) = bytes.get_mut(16..20) {
                place.copy_from_slice(&segment.to_ne_bytes());
            }
            Some(Ok(value(&bytes)))
        }
        _ => None,
    }
}

/// What has to be said before an option is kept, and about those that are not.
pub(super) fn check_set(
    level: u32,
    option: u32,
    bytes: &[u8],
    is_bound: impl FnOnce() -> bool,
) -> Option<Result<()>> {
    match (level, option) {
        (IPV6, V6ONLY) if is_bound() => Some(Err(Errno::EINVAL)),
        (TCP, CONGESTION) => {
            let name: Vec<u8> =
                bytes.iter().take(LONGEST_NAME).copied().take_while(|byte| *byte != 0).collect();
            Some(match &name[..] {
                b"cubic" | b"reno" => Ok(()),
                [] => Err(Errno::EINVAL),
                _ => Err(Errno::ENOENT),
            })
        }
        _ => None,
    }
}
