// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's sides of the two rings.
//!
//! The kernel's own indices are kept here and only shown in the shared memory; what the program makes of them there changes
//! nothing. Of the program's indices only the distance to the kernel's counts, and it is cut to what the ring holds.

use alloc::collections::VecDeque;

use super::layout::{COMPLETION_BYTES, ENTRY_BYTES, Layout, offset};

/// Memory that a program shares. A place that is not there reads as zero, and writes to it are dropped.
pub trait Shared {
    /// Reads a word before all that is read later.
    fn load(&self, offset: u32) -> u32;
    /// Writes a word after all that was written before.
    fn store(&self, offset: u32, value: u32);
    /// Reads eight bytes; their place is a multiple of eight.
    fn load64(&self, offset: u32) -> u64;
    /// Writes eight bytes; their place is a multiple of eight.
    fn store64(&self, offset: u32, value: u64);
}

/// The fields that never change, for the program.
pub fn describe(layout: &Layout, ring: &impl Shared) {
    for (at, value) in [
        (offset::SQ_MASK, layout.submissions - 1),
        (offset::CQ_MASK, layout.completions - 1),
        (offset::SQ_ENTRIES, layout.submissions),
        (offset::CQ_ENTRIES, layout.completions),
    ] {
        ring.store(at, value);
    }
}

/// What the next place of the submission ring had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// There is nothing.
    Nothing,
    /// A number that no entry has; it was counted.
    Dropped,
    /// A copy of an entry.
    Entry([u64; ENTRY_BYTES / 8]),
}

/// The submission ring: the kernel takes from it.
#[derive(Debug)]
pub struct Submissions {
    layout: Layout,
    head: u32,
    dropped: u32,
}

impl Submissions {
    /// An empty one.
    pub fn new(layout: Layout) -> Self {
        Self { layout, head: 0, dropped: 0 }
    }

    /// Entries that wait to be taken.
    pub fn waiting(&self, ring: &impl Shared) -> u32 {
        ring.load(offset::SQ_TAIL).wrapping_sub(self.head).min(self.layout.submissions)
    }

    /// Takes the next entry. The program may use its place again when this returns.
    pub fn take(&mut self, ring: &impl Shared, entries: &impl Shared) -> Taken {
        if self.waiting(ring) == 0 {
            return Taken::Nothing;
        }
        let place = self.head & (self.layout.submissions - 1);
        let number = ring.load(self.layout.array() + place * size_of::<u32>() as u32);
        let taken = if number < self.layout.submissions {
            let start = number * ENTRY_BYTES as u32;
            let mut words = [0; ENTRY_BYTES / 8];
            for (at, word) in (start..).step_by(8).zip(&mut words) {
                *word = entries.load64(at);
            }
            Taken::Entry(words)
        } else {
            self.dropped = self.dropped.wrapping_add(1);
            ring.store(offset::SQ_DROPPED, self.dropped);
            Taken::Dropped
        };
        self.head = self.head.wrapping_add(1);
        ring.store(offset::SQ_HEAD, self.head);
        taken
    }
}

/// What became of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// The program can see it.
    Seen,
    /// It waits for room in the ring.
    Held,
    /// There was no room left even to hold it; it was counted.
    Lost,
}

/// The completion ring: the kernel puts into it. What finds no room is held back, in order, and never overtaken.
#[derive(Debug)]
pub struct Completions {
    layout: Layout,
    tail: u32,
    held: VecDeque<[u64; COMPLETION_BYTES / 8]>,
    most_held: usize,
    lost: u32,
}

impl Completions {
    /// An empty one that holds back up to `most_held` completions.
    pub fn new(layout: Layout, most_held: usize) -> Self {
        Self { layout, tail: 0, held: VecDeque::new(), most_held, lost: 0 }
    }

    /// Completions that the program has not taken yet.
    pub fn ready(&self, ring: &impl Shared) -> u32 {
        self.tail.wrapping_sub(ring.load(offset::CQ_HEAD)).min(self.layout.completions)
    }

    /// Completions that wait for room.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The number of completions shown so far, modulo 2^32.
    pub fn tail(&self) -> u32 {
        self.tail
    }

    fn show(&mut self, ring: &impl Shared, [data, result]: [u64; 2]) {
        let place = self.tail & (self.layout.completions - 1);
        let at = offset::COMPLETIONS + place * COMPLETION_BYTES as u32;
        ring.store64(at, data);
        ring.store64(at + 8, result);
        self.tail = self.tail.wrapping_add(1);
        ring.store(offset::CQ_TAIL, self.tail);
    }

    /// Adds a completion: the request's `user_data`, its result, and `IORING_CQE_F_` flags.
    pub fn post(&mut self, ring: &impl Shared, user_data: u64, result: i32, flags: u32) -> Posted {
        let completion = [user_data, (u64::from(flags) << 32) | u64::from(result as u32)];
        if self.held.is_empty() && self.ready(ring) < self.layout.completions {
            self.show(ring, completion);
            return Posted::Seen;
        }
        if self.held.len() < self.most_held {
            self.held.push_back(completion);
            return Posted::Held;
        }
        self.lost = self.lost.wrapping_add(1);
        ring.store(offset::CQ_OVERFLOW, self.lost);
        Posted::Lost
    }

    /// Shows what was held back, as far as there is room now; true if nothing is left.
    pub fn flush(&mut self, ring: &impl Shared) -> bool {
        while !self.held.is_empty() && self.ready(ring) < self.layout.completions {
            if let Some(completion) = self.held.pop_front() {
                self.show(ring, completion);
            }
        }
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::vec::Vec;

    /// Shared memory as 64-bit words; a 32-bit access is a part of one.
    struct Memory(Vec<AtomicU64>);

    impl Memory {
        fn new(bytes: usize) -> Self {
            Self((0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect())
        }
    }

    impl Shared for Memory {
        fn load(&self, offset: u32) -> u32 {
            (self.load64(offset & !7) >> (offset % 8 * 8)) as u32
        }

        fn store(&self, offset: u32, value: u32) {
            let shift = offset % 8 * 8;
            if let Some(word) = self.0.get(offset as usize / 8) {
                let put = |old| Some(old & !(0xffff_ffff << shift) | (u64::from(value) << shift));
                word.fetch_update(Ordering::AcqRel, Ordering::Acquire, put).unwrap();
            }
        }

        fn load64(&self, offset: u32) -> u64 {
            self.0.get(offset as usize / 8).map_or(0, |word| word.load(Ordering::Acquire))
        }

        fn store64(&self, offset: u32, value: u64) {
            if let Some(word) = self.0.get(offset as usize / 8) {
                word.store(value, Ordering::Release);
            }
        }
    }

    struct Rings {
        layout: Layout,
        ring: Memory,
        entries: Memory,
    }

    impl Rings {
        fn new(submissions: u32, completions: u32) -> Self {
            let layout = Layout::new(submissions, Some(completions), false).unwrap();
            Self {
                layout,
                ring: Memory::new(layout.ring_bytes()),
                entries: Memory::new(layout.entries_bytes()),
            }
        }

        /// As a program does: an entry with that user data.
        fn submit(&self, user_data: u64) {
            let tail = self.ring.load(offset::SQ_TAIL);
            let place = tail & (self.layout.submissions - 1);
            self.entries.store64(place * 64 + 32, user_data);
            self.ring.store(self.layout.array() + place * 4, place);
            self.ring.store(offset::SQ_TAIL, tail.wrapping_add(1));
        }

        /// As a program does: takes the next completion.
        fn reap(&self) -> Option<(u64, i32)> {
            let head = self.ring.load(offset::CQ_HEAD);
            if head == self.ring.load(offset::CQ_TAIL) {
                return None;
            }
            let at = offset::COMPLETIONS + (head & (self.layout.completions - 1)) * 16;
            let found = (self.ring.load64(at), self.ring.load64(at + 8) as i32);
            self.ring.store(offset::CQ_HEAD, head.wrapping_add(1));
            Some(found)
        }
    }

    #[test]
    fn entries_come_in_order_and_wrap() {
        let rings = Rings::new(4, 4);
        let mut queue = Submissions::new(rings.layout);
        for user_data in 0..11 {
            rings.submit(user_data);
            assert_eq!(queue.waiting(&rings.ring), 1);
            let Taken::Entry(words) = queue.take(&rings.ring, &rings.entries) else { panic!("no entry") };
            assert_eq!(words[4], user_data);
            assert_eq!(rings.ring.load(offset::SQ_HEAD), user_data as u32 + 1);
        }
        assert_eq!(queue.take(&rings.ring, &rings.entries), Taken::Nothing);
    }

    #[test]
    fn indices_of_a_hostile_program_are_cut_and_counted() {
        let rings = Rings::new(4, 4);
        let mut queue = Submissions::new(rings.layout);
        rings.ring.store(offset::SQ_TAIL, u32::MAX);
        rings.ring.store(offset::SQ_HEAD, 12345);
        assert_eq!(queue.waiting(&rings.ring), 4);
        for (number, dropped) in [(4, true), (u32::MAX, true), (3, false)] {
            rings.ring.store(rings.layout.array() + (queue.head & 3) * 4, number);
            assert_eq!(queue.take(&rings.ring, &rings.entries) == Taken::Dropped, dropped, "{number}");
        }
        assert_eq!(rings.ring.load(offset::SQ_DROPPED), 2);
        assert_eq!(rings.ring.load(offset::SQ_HEAD), 3);
    }

    #[test]
    fn completions_without_room_are_held_and_not_overtaken() {
        let rings = Rings::new(2, 2);
        let mut queue = Completions::new(rings.layout, 3);
        let posted: Vec<_> = (0..6).map(|n| queue.post(&rings.ring, n, -(n as i32), 0)).collect();
        use Posted::{Held, Lost, Seen};
        assert_eq!(posted, [Seen, Seen, Held, Held, Held, Lost]);
        assert_eq!(rings.ring.load(offset::CQ_OVERFLOW), 1);
        assert_eq!(rings.reap(), Some((0, 0)));
        // There is room now, but what was held comes first.
        assert_eq!(queue.post(&rings.ring, 6, 0, 0), Lost);
        assert!(!queue.flush(&rings.ring));
        assert_eq!((rings.reap(), rings.reap(), rings.reap()), (Some((1, -1)), Some((2, -2)), None));
        assert!(queue.flush(&rings.ring));
        assert_eq!((rings.reap(), rings.reap(), rings.reap()), (Some((3, -3)), Some((4, -4)), None));
    }

    #[test]
    fn a_head_that_lies_makes_the_ring_full_and_no_more() {
        let rings = Rings::new(2, 2);
        let mut queue = Completions::new(rings.layout, 8);
        assert_eq!(queue.post(&rings.ring, 1, 0, 0), Posted::Seen);
        rings.ring.store(offset::CQ_HEAD, 77);
        assert_eq!(queue.ready(&rings.ring), 2);
        assert_eq!(queue.post(&rings.ring, 2, 0, 0), Posted::Held);
        rings.ring.store(offset::CQ_HEAD, 1);
        assert!(queue.flush(&rings.ring));
        assert_eq!(rings.reap(), Some((2, 0)));
    }

    /// A program on another thread submits and reaps while the kernel takes and posts: nothing is lost, doubled or torn.
    #[test]
    fn program_and_kernel_run_at_the_same_time() {
        const COUNT: u64 = if cfg!(miri) { 200 } else { 100_000 };
        let rings = Rings::new(8, 8);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut submissions = Submissions::new(rings.layout);
                let mut completions = Completions::new(rings.layout, 64);
                while !done.load(Ordering::Acquire) {
                    if let Taken::Entry(words) = submissions.take(&rings.ring, &rings.entries) {
                        assert_ne!(completions.post(&rings.ring, words[4], words[4] as i32, 0), Posted::Lost);
                    } else {
                        std::thread::yield_now();
                    }
                    completions.flush(&rings.ring);
                }
            });
            let (mut submitted, mut reaped) = (0, 0);
            while reaped < COUNT {
                let free =
                    rings.ring.load(offset::SQ_TAIL).wrapping_sub(rings.ring.load(offset::SQ_HEAD)) < 8;
                if free && submitted < COUNT && submitted - reaped < 32 {
                    rings.submit(submitted);
                    submitted += 1;
                } else if rings.ring.load(offset::CQ_HEAD) == rings.ring.load(offset::CQ_TAIL) {
                    std::thread::yield_now();
                }
                while let Some((data, result)) = rings.reap() {
                    assert_eq!((data, result), (reaped, reaped as i32));
                    reaped += 1;
                }
            }
            done.store(true, Ordering::Release);
        });
    }
}
