// SPDX-License-Identifier: MIT OR Apache-2.0
//! How far processes and threads are with stopping; [`super::stop`] changes it.

use core::sync::atomic::AtomicBool;

/// How far a process is with stopping.
#[derive(Debug, Default)]
pub struct Stop {
    /// The signal that stops it; 0 while it runs.
    pub(super) signal: u32,
    /// Threads that have still to stop.
    pub(super) left: usize,
    /// SIGCONTs that it has been sent.
    pub(super) continues: u32,
}

/// A thread's part in the stop of its process: whether the others still wait for it.
#[derive(Debug, Default)]
pub struct Owed(pub(super) AtomicBool);
