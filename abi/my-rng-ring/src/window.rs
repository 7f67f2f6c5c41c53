// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handing out what was taken from a [`Ring`](super::ring::Ring) to many at once, without a lock.
//!
//! A ring has one user at a time. Where many want a little of it each, one of them (under a lock) takes a piece out of
//! the ring and opens a window on it; all take from the window, and who finds too little in it goes to the lock.
//!
//! ```
//! # use std::sync::atomic::{AtomicU64, Ordering};
//! # use my_rng_ring::window::{Position, Taken, Window};
//! # struct Word(AtomicU64);
//! # impl Position for Word {
//! #     fn load_acquire(&self) -> u64 { self.0.load(Ordering::Acquire) }
//! #     fn store_release(&self, value: u64) { self.0.store(value, Ordering::Release) }
//! #     fn compare_exchange(&self, old: u64, new: u64) -> bool {
//! #         self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
//! #     }
//! # }
//! let numbers = [7, 8, 9];
//! let read = |position: u64| Some(numbers[position as usize]);
//! let window = Window::new(Word(AtomicU64::new(0)));
//! assert_eq!(window.take(1, read), Taken::Empty);
//!
//! window.open(0..3);
//! assert_eq!(window.take(1, read), Taken::Some(7));
//! assert_eq!(window.take(1, |_| None::<u64>), Taken::Refused); // Nothing was taken.
//! assert_eq!(window.take(1, read), Taken::Some(8));
//! assert_eq!(window.close(), 2..3); // What was left.
//! assert_eq!(window.take(1, read), Taken::Empty);
//! ```
//!
//! Positions only ever grow, through all windows. So a word that was found twice was there all the time in between, and
//! what lies at its position, which is given back to the device only when all of a window was taken, has not changed.
//! (They begin anew after 2⁴⁸: who is held up for that many numbers, and no more or less, may get one that another had.)

use core::ops::Range;

/// A word that many threads share.
pub trait Position {
    /// Reads the word before everything that follows.
    fn load_acquire(&self) -> u64;
    /// Writes the word after everything before.
    fn store_release(&self, value: u64);
    /// Writes `new` if the word is `old`, after everything before. Returns whether it was.
    fn compare_exchange(&self, old: u64, new: u64) -> bool;
}

/// What came of [`Window::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<R> {
    /// What the caller has read, which is the caller's.
    Some(R),
    /// The caller would not have it.
    Refused,
    /// There is not enough.
    Empty,
}

/// Bits of the word that say how many positions are left; those above say which is the next.
const LEFT_BITS: u32 = 16;
const LEFT_MASK: u64 = (1 << LEFT_BITS) - 1;

/// What can be taken without a lock.
#[derive(Debug)]
pub struct Window<P>(P);

impl<P: Position> Window<P> {
    /// How many positions a window can have.
    pub const MOST: usize = LEFT_MASK as usize;

    /// An empty window. The word must be 0.
    pub const fn new(word: P) -> Self {
        Self(word)
    }

    /// Takes `count` positions: calls `read` with the first of them, and takes them unless it returns `None`.
    ///
    /// If others take from the window meanwhile, `read` is called again with other positions; only what its last call
    /// has returned counts. It may sleep.
    #[inline]
    pub fn take<R>(&self, count: u16, mut read: impl FnMut(u64) -> Option<R>) -> Taken<R> {
        let count = u64::from(count);
        loop {
            let word = self.0.load_acquire();
            if word & LEFT_MASK < count {
                return Taken::Empty;
            }
            let Some(read) = read(word >> LEFT_BITS) else { return Taken::Refused };
            // Fewer are left, and the next position is as much further; beyond its bits it begins anew.
            let rest = word.wrapping_add(count << LEFT_BITS).wrapping_sub(count);
            if self.0.compare_exchange(word, rest) {
                return Taken::Some(read);
            }
        }
    }

    /// How much can be taken.
    pub fn len(&self) -> usize {
        (self.0.load_acquire() & LEFT_MASK) as usize
    }

    /// Whether nothing can be taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets everybody take these positions, at most [`Window::MOST`]. Only for the holder of the lock, when the window
    /// is empty; they must not begin before the end of the window before.
    pub fn open(&self, positions: Range<u64>) {
        let left = positions.end.saturating_sub(positions.start).min(LEFT_MASK);
        self.0.store_release(positions.start << LEFT_BITS | left);
    }

    /// Lets nobody take any more, and returns what was left. Only for the holder of the lock.
    pub fn close(&self) -> Range<u64> {
        loop {
            let word = self.0.load_acquire();
            let (start, left) = (word >> LEFT_BITS, word & LEFT_MASK);
            let end = start.wrapping_add(left);
            if self.0.compare_exchange(word, end << LEFT_BITS) {
                return start..end;
            }
        }
    }
}
