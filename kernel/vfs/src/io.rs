// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a read or write is to be done.

/// How a read or write is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// Where in the file, if it has places.
    pub offset: u64,
    /// Fail with EAGAIN rather than wait.
    pub no_wait: bool,
    /// O_DIRECT: a pipe takes each write as a packet.
    pub direct: bool,
}

/// How one call reads or writes an open file.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Where; none for the file's own offset, which then moves.
    pub offset: Option<u64>,
    /// A write goes to the end, whatever the offset.
    pub append: bool,
    /// Fail with EAGAIN rather than wait.
    pub no_wait: bool,
}
