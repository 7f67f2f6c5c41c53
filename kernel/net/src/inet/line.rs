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
}
