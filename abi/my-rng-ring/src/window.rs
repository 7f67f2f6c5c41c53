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
//! # let word = || Word(AtomicU64::new(0));
//! let numbers = [7, 8, 9];
//! let read = |position: u64| Some(numbers[position as usize]);
//! let window = Window::new(word(), word());
//! assert_eq!(window.take(1, read), Taken::Empty);
//!
//! window.open(0, 3);
//! assert_eq!(window.take(1, read), Taken::Some(7));
//! assert_eq!(window.take(1, |_| None::<u64>), Taken::Refused); // Nothing was taken.
//! assert_eq!(window.take(1, read), Taken::Some(8));
//! assert_eq!(window.close(), 2..3); // What was left.
//! assert_eq!(window.take(1, read), Taken::Empty);
//! ```
//!
//! Positions only ever grow, through all windows. So a position that was found twice was there all the time in between,
//! and what lies there, which is given back to the device only when all of a window was taken, has not changed.

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

/// What can be taken without a lock: the positions from `head` up to `limit`.
#[derive(Debug)]
pub struct Window<P> {
    head: P,
    limit: P,
}

impl<P: Position> Window<P> {
    /// An empty window. Both words must be 0.
    pub const fn new(head: P, limit: P) -> Self {
        Self { head, limit }
    }

    /// Takes `count` positions: calls `read` with the first of them, and takes them unless it returns `None`.
    ///
    /// If others take from the window meanwhile, `read` is called again with other positions; only what its last call
    /// has returned counts. It may sleep.
    #[inline]
    pub fn take<R>(&self, count: u64, mut read: impl FnMut(u64) -> Option<R>) -> Taken<R> {
        loop {
            // In this order: a limit that is too new for its head belongs to a head that will not be found again.
            let head = self.head.load_acquire();
            let limit = self.limit.load_acquire();
            let end = head.wrapping_add(count);
            if end > limit {
                return Taken::Empty;
            }
            let Some(read) = read(head) else { return Taken::Refused };
            if self.head.compare_exchange(head, end) {
                return Taken::Some(read);
            }
        }
    }

    /// How much can be taken.
    pub fn len(&self) -> u64 {
        let head = self.head.load_acquire();
        self.limit.load_acquire().saturating_sub(head)
    }

    /// Whether nothing can be taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets everybody take the positions from `start` up to `limit`. Only for the holder of the lock, when the window
    /// is empty; `start` must not be before the end of the window before.
    pub fn open(&self, start: u64, limit: u64) {
        self.head.store_release(start);
        self.limit.store_release(limit);
    }

    /// Lets nobody take any more, and returns what was left. Only for the holder of the lock.
    pub fn close(&self) -> Range<u64> {
        let limit = self.limit.load_acquire();
        loop {
            let head = self.head.load_acquire();
            if self.head.compare_exchange(head, limit) {
                return head..limit;
            }
        }
    }
}
