// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's side of a queue: posting, taking, giving back, and waiting.
//!
//! ```
//! # use core::cell::RefCell;
//! # use my_rng_ring::{Layout, Ring, State, queue::{COMPLETED, POSTED}};
//! # struct Memory(RefCell<[u32; 64]>);
//! # impl State for &Memory {
//! #     fn load(&self, offset: usize) -> u32 { self.0.borrow()[offset / 4] }
//! #     fn load_acquire(&self, offset: usize) -> u32 { self.load(offset) }
//! #     fn store(&self, offset: usize, value: u32) { self.0.borrow_mut()[offset / 4] = value }
//! #     fn store_release(&self, offset: usize, value: u32) { self.store(offset, value) }
//! #     fn full_barrier(&self) {}
//! # }
//! # let memory = &Memory(RefCell::new([0; 64]));
//! let layout = Layout::new(4, 1024).unwrap();
//! let mut ring = Ring::new(memory, layout); // All of the state is 0 now: enable the queue …
//! let _wake = ring.give_back(); // … then post the buffers; ring the doorbell if this is true.
//! assert_eq!(memory.load(POSTED), 4);
//!
//! memory.store(COMPLETED, 2); // This is the device.
//! let piece = ring.take(usize::MAX)?.unwrap(); // These bytes are ours, and will not be given out again.
//! assert_eq!((piece.offset, piece.length), (0, 2048));
//! let _wake = ring.give_back(); // After the bytes were copied: the buffers may be filled anew.
//! # Ok::<(), my_rng_ring::Fault>(())
//! ```
//!
//! All counts run freely modulo 2³². They come from memory that the device writes, so a count that cannot be is a
//! [`Fault`], never an index out of bounds.

use super::queue::{
    BUFFER_SIZE_MAX, COMPLETED, DEPTH_MAX, ERROR, INTERRUPT_AT, INTERRUPT_WANTED, POSTED, SLEEPING,
};

/// The state of a queue: words that driver and device share. The offsets are those of [`queue`](super::queue).
pub trait State {
    /// Reads a word, in any order.
    fn load(&self, offset: usize) -> u32;
    /// Reads a word before everything that follows.
    fn load_acquire(&self, offset: usize) -> u32;
    /// Writes a word, in any order.
    fn store(&self, offset: usize, value: u32);
    /// Writes a word after everything before.
    fn store_release(&self, offset: usize, value: u32);
    /// Orders everything before against everything after, writes against later reads too.
    fn full_barrier(&self);
}

/// How large a queue is.
///
/// Both numbers are powers of two that are not 0 and not above the queue's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    depth: u32,
    buffer_size: u32,
}

impl Layout {
    /// A queue of `depth` buffers of `buffer_size` bytes, both powers of two, at most [`DEPTH_MAX`] and
    /// [`BUFFER_SIZE_MAX`]; `None` if they are not.
    #[must_use]
    pub const fn new(depth: u32, buffer_size: u32) -> Option<Self> {
        if depth.is_power_of_two()
            && depth <= DEPTH_MAX
            && buffer_size.is_power_of_two()
            && buffer_size <= BUFFER_SIZE_MAX
        {
            Some(Self { depth, buffer_size })
        } else {
            None
        }
    }

    /// Number of buffers.
    #[must_use]
    pub const fn depth(self) -> u32 {
        self.depth
    }

    /// Size of a buffer in bytes.
    #[must_use]
    pub const fn buffer_size(self) -> u32 {
        self.buffer_size
    }

    /// Size of all buffers in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        // At most 2^30.
        self.depth as usize * self.buffer_size as usize
    }

    /// Where buffer number `count` begins, in bytes after the first.
    const fn offset(self, count: u32) -> usize {
        (count & self.depth.wrapping_sub(1)) as usize * self.buffer_size as usize
    }
}

/// Bytes that were taken out of a ring: `length` bytes, `offset` bytes after the start of the first buffer, as if the
/// buffers lay one after the other. Never reaches around the ring's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Bytes from the start of the first buffer.
    pub offset: usize,
    /// Number of bytes; not 0.
    pub length: usize,
}

/// Why nothing more comes out of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The queue has stopped: one of [`queue`](super::queue)'s `ERROR_…`.
    Stopped(u32),
    /// The count of completed buffers is not between those of taken and posted ones: something else writes there.
    Count,
}

/// The driver's side of one queue.
#[derive(Debug)]
pub struct Ring<S> {
    state: S,
    layout: Layout,
    /// How many buffers are collected before they are posted.
    batch: u32,
    /// Buffers posted so far. Always: `taken <= completed <= posted <= taken + depth`.
    posted: u32,
    /// Buffers completed so far, as last seen.
    completed: u32,
    /// Buffers of which every byte was taken.
    taken: u32,
    /// Bytes taken of the buffer after these; less than its size.
    offset: u32,
    /// The completion that was asked for last.
    awaited: u32,
}

impl<S: State> Ring<S> {
    /// A ring on which nothing is posted, and its state set to 0. The queue must be disabled; after it was enabled,
    /// [`Ring::give_back`] posts all buffers.
    pub fn new(state: S, layout: Layout) -> Self {
        let mut ring = Self::attach(state, layout);
        ring.reset();
        ring
    }

    /// A ring on which nothing is posted, for a queue that somebody else has enabled: its state is not written to.
    pub fn attach(state: S, layout: Layout) -> Self {
        let batch = if layout.depth < 4 { 1 } else { layout.depth / 4 };
        Self { state, layout, batch, posted: 0, completed: 0, taken: 0, offset: 0, awaited: 0 }
    }

    /// Forgets everything that was posted and completed, as [`Ring::new`]. The queue must be disabled.
    pub fn reset(&mut self) {
        for offset in [POSTED, INTERRUPT_AT, INTERRUPT_WANTED, COMPLETED, SLEEPING, ERROR] {
            self.state.store(offset, 0);
        }
        (self.posted, self.completed, self.taken, self.offset, self.awaited) = (0, 0, 0, 0, 0);
        self.state.full_barrier();
    }

    /// How large the queue is.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The shared words.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Takes at most `limit` of the bytes that are there, or `None` if there are none (or the limit is 0).
    ///
    /// Who calls this owns these bytes until the next [`Ring::give_back`], and nobody gets them again, whatever
    /// becomes of them.
    ///
    /// # Errors
    /// A [`Fault`], once there is nothing left that was completed before it.
    pub fn take(&mut self, limit: usize) -> Result<Option<Piece>, Fault> {
        let there = self.bytes_there()?;
        let start = self.layout.offset(self.taken);
        let to_end = self.layout.size().saturating_sub(start);
        let offset = self.offset as usize;
        let length = limit.min(there).min(to_end.saturating_sub(offset));
        if length == 0 {
            return Ok(None);
        }
        self.skip(length);
        Ok(Some(Piece { offset: start.wrapping_add(offset), length }))
    }

    /// Whether [`Ring::take`] would find something.
    ///
    /// # Errors
    /// As [`Ring::take`].
    pub fn has_some(&mut self) -> Result<bool, Fault> {
        Ok(self.bytes_there()? != 0)
    }

    /// Posts the buffers that were taken, or at the beginning all of them; but only if they are many or if nothing else
    /// is left to take. Returns whether the doorbell must be rung.
    #[must_use = "the device may be asleep"]
    pub fn give_back(&mut self) -> bool {
        let free = self.layout.depth.wrapping_sub(self.posted.wrapping_sub(self.taken));
        if free == 0 || (free < self.batch && self.completed != self.taken) {
            return false;
        }
        self.posted = self.posted.wrapping_add(free);
        self.state.store_release(POSTED, self.posted);
        // Against the device's order "SLEEPING, barrier, POSTED": one of the two sees what the other has written.
        self.state.full_barrier();
        self.state.load(SLEEPING) == 1
    }

    /// Asks for an interrupt when `buffers` more buffers are complete than were taken (at least one, at most what is
    /// posted), or fewer if somebody asked for fewer before. Returns the count to wait for: sleep only while
    /// [`is_reached`] says no.
    ///
    /// Everything must be posted: call [`Ring::give_back`] when [`Ring::take`] has found nothing.
    pub fn ask_for_interrupt(&mut self, buffers: u32) -> u32 {
        let posted = self.posted.wrapping_sub(self.taken);
        let wanted = buffers.clamp(1, posted.max(1));
        let earlier = self.awaited.wrapping_sub(self.taken);
        // Somebody may sleep until an earlier completion, and must not be made to wait for ours.
        let wanted = if earlier != 0 && earlier < wanted { earlier } else { wanted };
        self.awaited = self.taken.wrapping_add(wanted);
        self.state.store(INTERRUPT_AT, self.awaited);
        self.state.store(INTERRUPT_WANTED, 1);
        // Against the device's order "COMPLETED, barrier, INTERRUPT_AT".
        self.state.full_barrier();
        self.awaited
    }

    /// Bytes that can be taken without waiting.
    fn bytes_there(&mut self) -> Result<usize, Fault> {
        if self.completed == self.taken {
            let completed = self.state.load_acquire(COMPLETED);
            if completed.wrapping_sub(self.taken) > self.posted.wrapping_sub(self.taken) {
                return Err(Fault::Count);
            }
            self.completed = completed;
            if completed == self.taken {
                return match self.state.load(ERROR) {
                    0 => Ok(0),
                    error => Err(Fault::Stopped(error)),
                };
            }
        }
        let buffers = self.completed.wrapping_sub(self.taken) as usize;
        let size = self.layout.buffer_size as usize;
        Ok(buffers.saturating_mul(size).saturating_sub(self.offset as usize))
    }

    /// Moves past `length` bytes that are there.
    fn skip(&mut self, length: usize) {
        let size = self.layout.buffer_size as usize;
        let end = length.wrapping_add(self.offset as usize);
        // Both sizes are powers of two, and what is there is at most 2^30 bytes: nothing is cut off.
        self.taken = self.taken.wrapping_add((end >> size.trailing_zeros()) as u32);
        self.offset = (end & size.wrapping_sub(1)) as u32;
    }
}

/// Whether as many buffers are complete as [`Ring::ask_for_interrupt`] returned, or the queue has stopped: there is
/// nothing to sleep for.
pub fn is_reached(state: &impl State, count: u32) -> bool {
    // Less than half of all counts behind is "ahead".
    state.load_acquire(COMPLETED).wrapping_sub(count) < 1 << 31 || state.load(ERROR) != 0
}
