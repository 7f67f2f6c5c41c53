// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a pipe holds: bytes, and where packets (O_DIRECT) begin and end among them.

use alloc::collections::VecDeque;

use exo_logic::ring::Ring;

/// Bytes in a row that belong together.
struct Run {
    bytes: usize,
    /// They are read alone; what the reader has no room for is lost.
    is_packet: bool,
}

/// See the module's documentation.
pub(super) struct Content {
    pub(super) ring: Ring,
    /// Empty as long as there is no packet.
    runs: VecDeque<Run>,
    /// Bytes in front of those in the ring that are lent to somebody, who may not take all of them.
    lent: usize,
    is_lent: bool,
}

impl Content {
    pub(super) fn new() -> Self {
        Self { ring: Ring::new(0), runs: VecDeque::new(), lent: 0, is_lent: false }
    }

    /// Bytes that it holds, those that are lent among them.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.ring.len() + self.lent
    }

    /// Whether its first bytes are lent, so that nobody else can take any.
    #[inline]
    pub(super) fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// Bytes that can be taken: none while some are lent, as what came since is behind those.
    #[inline]
    pub(super) fn takeable(&self) -> usize {
        if self.is_lent { 0 } else { self.ring.len() }
    }

    /// Lends all bytes that it has; none if there are none, or some are lent.
    pub(super) fn lend(&mut self) -> Option<Ring> {
        if self.takeable() == 0 {
            return None;
        }
        (self.lent, self.is_lent) = (self.ring.len(), true);
        Some(core::mem::replace(&mut self.ring, Ring::new(0)))
    }

    /// Takes back what was lent, of which the first `taken` bytes are gone. What is left over is to be let go without a lock.
    pub(super) fn take_back(&mut self, mut ring: Ring, taken: usize) -> Ring {
        (self.lent, self.is_lent) = (0, false);
        self.drop_runs(taken);
        if ring.is_empty() && !self.ring.is_empty() {
            return ring;
        }
        if !self.ring.is_empty() {
            ring.grow((ring.len() + self.ring.len()).next_power_of_two());
            while !self.ring.is_empty() {
                let count = ring.push(self.ring.used_run());
                self.ring.consumed(count);
            }
        }
        core::mem::replace(&mut self.ring, ring)
    }

    /// Runs that it holds, if there are packets.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Whether the first bytes are a packet, and how many bytes of the same kind are in front.
    pub(super) fn front(&self) -> (bool, usize) {
        self.runs.front().map_or((false, self.ring.len()), |run| (run.is_packet, run.bytes))
    }

    /// Notes that the last `bytes` bytes were added.
    #[inline]
    pub(super) fn added(&mut self, bytes: usize, is_packet: bool) {
        if !is_packet && self.runs.is_empty() {
            return;
        }
        let before = self.len().saturating_sub(bytes);
        if is_packet && self.runs.is_empty() && before > 0 {
            self.runs.push_back(Run { bytes: before, is_packet: false });
        }
        match self.runs.back_mut() {
            _ if is_packet => self.runs.push_back(Run { bytes, is_packet }),
            Some(last) if !last.is_packet => last.bytes += bytes,
            Some(_) => self.runs.push_back(Run { bytes, is_packet }),
            None => {}
        }
    }

    /// Drops bytes from the front.
    #[inline]
    pub(super) fn drop_front(&mut self, bytes: usize) {
        self.ring.consumed(bytes);
        if !self.runs.is_empty() {
            self.drop_runs(bytes);
        }
    }

    #[inline(never)]
    fn drop_runs(&mut self, bytes: usize) {
        let mut left = bytes;
        while let Some(run) = self.runs.front_mut() {
            if run.bytes > left {
                run.bytes -= left;
                return;
            }
            left -= run.bytes;
            self.runs.pop_front();
        }
    }

    /// Adds bytes, for which there is room.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let count = self.ring.push(bytes);
        self.added(count, false);
    }
}
