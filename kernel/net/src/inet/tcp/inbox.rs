// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one end of a connection has been sent and has not read.

use alloc::{collections::VecDeque, vec::Vec};

use super::buffers::{SMALL, cost};

/// Some bytes in a buffer, from `start` to `end`.
#[derive(Default)]
pub(super) struct Segment {
    /// Empty while somebody reads it.
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Segment {
    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// How many they are, also while somebody reads them.
    pub(super) fn left(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Adds the bytes of another, if there is room for them behind its own.
    fn append(&mut self, other: &Self) -> bool {
        let bytes = other.bytes();
        let Some(room) = self.buffer.get_mut(self.end..self.end + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }
}

/// Bytes that wait, in their order.
#[derive(Default)]
pub(super) struct Inbox {
    segments: VecDeque<Segment>,
    /// How many bytes.
    pub(super) readable: usize,
    /// What their buffers cost.
    pub(super) cost: usize,
    /// Somebody reads: segments are added, and none is taken.
    pub(super) is_read: bool,
    /// Others want to.
    pub(super) others_read: bool,
    /// A small buffer for the next sender.
    spare: Vec<u8>,
}

impl Inbox {
    /// Adds a segment; a small one that found room elsewhere leaves its buffer as the spare one, or is given back.
    ///
    /// # Errors
    /// The segment, if there is no memory for it.
    pub(super) fn add(&mut self, segment: Segment) -> Result<Option<Segment>, Segment> {
        let count = segment.left();
        if segment.buffer.len() == SMALL {
            if let Some(last) = self.segments.back_mut() {
                if last.append(&segment) {
                    self.readable += count;
                    return Ok(self.keep(segment));
                }
            }
        }
        if self.segments.len() == self.segments.capacity() && self.segments.try_reserve(1).is_err() {
            return Err(segment);
        }
        self.readable += count;
        self.cost += cost(&segment.buffer);
        self.segments.push_back(segment);
        Ok(None)
    }

    /// Keeps the buffer of a segment that is done as the spare one, if it is small and there is none.
    fn keep(&mut self, segment: Segment) -> Option<Segment> {
        if segment.buffer.len() == SMALL && self.spare.is_empty() {
            self.spare = segment.buffer;
            return None;
        }
        Some(segment)
    }

    /// The spare buffer; empty if there is none.
    pub(super) fn take_spare(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.spare)
    }

    /// Takes the segment at a place for reading. It goes on counting.
    pub(super) fn lend(&mut self, index: usize) -> Option<Segment> {
        let segment = self.segments.get_mut(index)?;
        let buffer = core::mem::take(&mut segment.buffer);
        Some(Segment { buffer, start: segment.start, end: segment.end })
    }

    /// Puts it back unread.
    pub(super) fn put_back(&mut self, index: usize, lent: Segment) {
        if let Some(segment) = self.segments.get_mut(index) {
            segment.buffer = lent.buffer;
        }
    }

    /// `count` bytes of the first segment, which was lent, have been read: what is left is put back, or the buffer is given back.
    // In the path of each receive: as a call of its own it costs 30 instructions.
    #[inline(always)]
    pub(super) fn consume(&mut self, mut lent: Segment, count: usize) -> Option<Segment> {
        // It may have been closed meanwhile.
        let first = self.segments.front_mut()?;
        self.readable = self.readable.saturating_sub(count);
        if count < first.left() {
            first.start += count;
            first.buffer = core::mem::take(&mut lent.buffer);
            return None;
        }
        self.segments.pop_front();
        self.cost = self.cost.saturating_sub(cost(&lent.buffer));
        self.keep(lent)
    }
}
