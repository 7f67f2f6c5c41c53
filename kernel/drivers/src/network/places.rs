// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a connection leads, how far it is, and what it can do.

use core::net::Ipv4Addr;

/// A connection of an interface.
#[derive(Debug, PartialEq, Eq)]
pub struct Stream(pub(super) u64);

/// Where another machine's socket is.
pub type Remote = (Ipv4Addr, u16);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is being made.
    Begins,
    /// It is there.
    Open,
    /// It is no more, or has never been.
    Over,
}

/// What a connection can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// How far it is.
    pub phase: Phase,
    /// Bytes that have come and were not read.
    pub readable: usize,
    /// The other side sends no more.
    pub is_finished: bool,
}

impl Status {
    pub(super) const GONE: Self = Self { phase: Phase::Over, readable: 0, is_finished: true };
}
