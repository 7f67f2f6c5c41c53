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
}

impl Content {
    pub(super) fn new() -> Self {
        Self { ring: Ring::new(0), runs: VecDeque::new() }
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
        let before = self.ring.len().saturating_sub(bytes);
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
    pub(super) fn drop_front(&mut self, bytes: usize) {
        self.ring.consumed(bytes);
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

    /// Takes bytes from the front, of one packet at most; how many.
    pub(super) fn take(&mut self, to: &mut [u8]) -> usize {
        let (is_packet, bytes) = self.front();
        let limit = to.len().min(bytes);
        let count = self.ring.peek(0, to.get_mut(..limit).unwrap_or_default());
        self.drop_front(if is_packet { bytes } else { count });
        count
    }

    /// Puts bytes back in front, for which there is room.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        let count = self.ring.unpop(bytes);
        match self.runs.front_mut() {
            Some(run) if !run.is_packet => run.bytes += count,
            Some(_) => self.runs.push_front(Run { bytes: count, is_packet: false }),
            None => {}
        }
    }

    /// Adds bytes, for which there is room.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let count = self.ring.push(bytes);
        self.added(count, false);
    }
}
