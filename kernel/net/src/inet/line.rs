// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lists of sockets say of each.

use super::endpoint::Endpoint;

/// A socket in a list.
pub(super) struct Line {
    pub(super) local: Endpoint,
    pub(super) remote: Option<Endpoint>,
    pub(super) state: u8,
    /// Bytes that wait to be read, or connections to be accepted.
    pub(super) waiting: usize,
    pub(super) user: u32,
    pub(super) inode: u64,
    pub(super) references: usize,
    /// How long a port is still kept, in nanoseconds ([`TIME_WAIT`]).
    pub(super) left_ns: u64,
}

/// The state of a connection that is over and keeps its port, by Linux's number.
pub(super) const TIME_WAIT: u8 = 6;
