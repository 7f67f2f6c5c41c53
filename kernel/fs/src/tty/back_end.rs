// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies behind a terminal: a port that bytes go through, or the master's end of a pseudo-terminal.

use alloc::sync::Arc;

use exo_drivers::character::CharDevice;

use crate::line::Line;

/// Bytes that one of a program's becomes at most.
const MOST_FOR_ONE: usize = 2;

/// Where a terminal's bytes come from and go to.
#[derive(Clone)]
pub(super) enum BackEnd {
    /// A device.
    Port(Arc<dyn CharDevice>),
    /// The program that has the master.
    Master(Arc<Line>),
}

impl BackEnd {
    /// Takes a byte that has come.
    pub(super) fn receive(&self) -> Option<u8> {
        match self {
            Self::Port(port) => port.receive(),
            Self::Master(line) => line.receive(),
        }
    }

    /// Sends as many bytes as there is room for; how many.
    pub(super) fn send(&self, bytes: &[u8]) -> usize {
        match self {
            Self::Port(port) => port.send(bytes),
            Self::Master(line) => line.send(bytes),
        }
    }

    /// Bytes that are on their way. What a master can read has arrived.
    pub(super) fn pending(&self) -> usize {
        match self {
            Self::Port(port) => port.pending(),
            Self::Master(_) => 0,
        }
    }

    /// Whether a byte could be sent, of whatever kind.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Port(port) => port.has_room(),
            Self::Master(line) => line.room() >= MOST_FOR_ONE,
        }
    }

    /// How many of a program's bytes there is room for. A port sends what it has, so that waiting for the rest is not long.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Port(port) => {
                if port.has_room() {
                    usize::MAX
                } else {
                    0
                }
            }
            Self::Master(line) => line.room() / MOST_FOR_ONE,
        }
    }

    /// Forgets what was sent and has not arrived.
    pub(super) fn discard(&self) {
        match self {
            Self::Port(port) => port.discard(),
            Self::Master(line) => line.discard(),
        }
    }

    /// The device, if it is one.
    pub(super) fn port(&self) -> Option<&Arc<dyn CharDevice>> {
        if let Self::Port(port) = self { Some(port) } else { None }
    }

    /// The line to the master, if there is one.
    pub(super) fn line(&self) -> Option<&Arc<Line>> {
        if let Self::Master(line) = self { Some(line) } else { None }
    }
}
