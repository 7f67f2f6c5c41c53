// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets hold files that are on their way to them, and those may be sockets: what the collector of circles has to know of each.

use arrayvec::ArrayVec;

/// What tells an open file from all others.
pub type Key = usize;

/// Keys that are asked for at a time.
pub const SOME: usize = 32;

/// How far a holder has been looked through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    /// Of its queues, which.
    pub queue: usize,
    /// Of the messages in it, which.
    pub message: usize,
    /// Of the files with it, which.
    pub file: usize,
}

/// What holds files that may hold files.
pub trait Holder: Send + Sync {
    /// Some of the files in its messages that may hold files themselves, from a place on, which moves; none at the end.
    fn held(&self, cursor: &mut Cursor) -> Option<ArrayVec<Key, SOME>>;

    /// Lets go of all files in its messages. Nobody will ever read them.
    fn let_go(&self);
}
