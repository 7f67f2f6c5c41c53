// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings of `/dev/procmon_events`: one for each CPU, in pages that programs can map. [`procmon_abi::ring`] says how the
//! memory is laid out and in which order a ring's words are written, for those who read without asking the kernel. Who
//! records or reads here holds the ring's lock, which this file knows nothing of: it is given the number that the lock guards.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use procmon_abi::{
    event::{EVENT_SIZE, EVENT_WORDS, Event, LOST},
    ring::{MAGIC, PAGE, control, header, oldest},
};

/// Events on a page.
const EVENTS_PER_PAGE: usize = PAGE / EVENT_SIZE;

/// Pages of words, all zero at first.
pub trait Memory {
    /// The words of a page; none beyond the last.
    fn words(&self, page: usize) -> Option<&[AtomicU64]>;
}

/// The rings.
#[derive(Debug)]
pub struct Rings<M> {
    memory: M,
    slots: u64,
    count: usize,
}

/// Pages from the start of a ring to that of the next.
const fn ring_pages(slots: usize) -> usize {
    slots.div_ceil(EVENTS_PER_PAGE) + 1
}

/// Pages that `count` rings of `slots` events need; none if that cannot be.
#[must_use]
pub fn pages(count: usize, slots: usize) -> Option<usize> {
    ring_pages(slots).checked_mul(count)?.checked_add(1)
}

impl<M: Memory> Rings<M> {
    /// `count` rings of `slots` events (a power of two) in `memory`, which has as many [`pages`].
    pub fn new(memory: M, count: usize, slots: usize) -> Self {
        let rings = Self { memory, slots: slots as u64, count };
        let bytes = |pages: usize| (pages * PAGE) as u64;
        for (word, value) in [
            (header::MAGIC, MAGIC),
            (header::RINGS, count as u64),
            (header::SLOTS, slots as u64),
            (header::SLOT_SIZE, EVENT_SIZE as u64),
            (header::FIRST_RING, PAGE as u64),
            (header::RING_SIZE, bytes(ring_pages(slots))),
            (header::SIZE, bytes(pages(count, slots).unwrap_or(0))),
        ] {
            rings.set(0, word, value);
        }
        for ring in 0..count {
            rings.set(rings.control_page(ring), control::CPU, ring as u64);
        }
        rings
    }

    /// How many rings there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    fn control_page(&self, ring: usize) -> usize {
        1 + ring * ring_pages(self.slots as usize)
    }

    fn word(&self, page: usize, word: usize) -> Option<&AtomicU64> {
        self.memory.words(page)?.get(word)
    }

    fn set(&self, page: usize, word: usize, value: u64) {
        if let Some(word) = self.word(page, word) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// The words of the slot in which event `number` of a ring is or will be.
    fn slot(&self, ring: usize, number: u64) -> Option<&[AtomicU64]> {
        let index = (number & self.slots.saturating_sub(1)) as usize;
        let page = self.memory.words(self.control_page(ring) + 1 + index / EVENTS_PER_PAGE)?;
        let first = index % EVENTS_PER_PAGE * EVENT_WORDS;
        page.get(first..first + EVENT_WORDS)
    }

    /// Records an event; its sequence, time and CPU are filled in here. `recorded` is how many the ring has had so far, and is
    /// raised. `now` is asked with the lock held, so that the times of a ring never fall, and what is not there when
    /// somebody looks is later than the look.
    pub fn record(&self, ring: usize, recorded: &mut u64, event: Event, now: impl FnOnce() -> u64) {
        let page = self.control_page(ring);
        let (Some(begun), Some(written), Some(slot)) =
            (self.word(page, control::BEGUN), self.word(page, control::WRITTEN), self.slot(ring, *recorded))
        else {
            return;
        };
        let next = recorded.wrapping_add(1);
        let event = Event { sequence: *recorded, cpu: ring as u32, time: now(), ..event };
        begun.store(next, Ordering::Relaxed);
        // Who sees any of the new words sees also that they were begun.
        fence(Ordering::Release);
        for (word, value) in slot.iter().zip(event.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
        // Who sees the event counted sees all its words.
        written.store(next, Ordering::Release);
        *recorded = next;
    }

    /// Event `next` of a ring that has had `recorded`, or what is in its place: nothing, because it was not recorded yet, or a
    /// note about how many were lost from there on.
    pub fn event(&self, ring: usize, recorded: u64, next: u64) -> Option<Event> {
        if next >= recorded {
            return None;
        }
        let oldest = oldest(recorded, self.slots);
        let mut words = [0; EVENT_WORDS];
        for (to, from) in words.iter_mut().zip(self.slot(ring, next.max(oldest))?) {
            *to = from.load(Ordering::Relaxed);
        }
        let event = Event::from_words(&words);
        if next >= oldest {
            return Some(event);
        }
        // At the time of the first that is still there, so that it comes just before it.
        let (time, cpu, detail) = (event.time, event.cpu, oldest.saturating_sub(next));
        Some(Event { sequence: next, time, kind: LOST, cpu, detail, ..Event::default() })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use procmon_abi::event::EXEC;

    use super::*;

    pub(crate) struct Words(Vec<[AtomicU64; PAGE / 8]>);

    impl Words {
        pub(crate) fn new(pages: usize) -> Self {
            Self((0..pages).map(|_| [const { AtomicU64::new(0) }; PAGE / 8]).collect())
        }
    }

    impl Memory for Words {
        fn words(&self, page: usize) -> Option<&[AtomicU64]> {
            self.0.get(page).map(|p| &p[..])
        }
    }

    fn rings(count: usize, slots: usize) -> Rings<Words> {
        Rings::new(Words::new(pages(count, slots).unwrap()), count, slots)
    }

    #[test]
    fn the_header_says_where_everything_is() {
        let rings = rings(3, 128);
        let word = |page, word| rings.word(page, word).unwrap().load(Ordering::Relaxed);
        assert_eq!(word(0, header::MAGIC), MAGIC);
        assert_eq!((word(0, header::RINGS), word(0, header::SLOTS)), (3, 128));
        let ring_size = word(0, header::RING_SIZE);
        assert_eq!(ring_size, 4096 * 3, "a control page and two pages of slots");
        assert_eq!(word(0, header::SIZE), 4096 + 3 * ring_size);
        let second = (word(0, header::FIRST_RING) + ring_size) as usize / PAGE;
        assert_eq!(word(second, control::CPU), 1);
    }

    #[test]
    fn what_was_recorded_is_read_in_its_order() {
        let rings = rings(2, 64);
        let mut recorded = 0;
        for number in 0..5 {
            rings.record(
                1,
                &mut recorded,
                Event { kind: EXEC, pid: 10 + number, ..Event::default() },
                || 100 + number as u64,
            );
        }
        let event = rings.event(1, recorded, 3).unwrap();
        assert_eq!((event.sequence, event.cpu, event.time, event.pid, event.kind), (3, 1, 103, 13, EXEC));
        assert_eq!(rings.event(1, recorded, 5), None, "not recorded yet");
        assert_eq!(rings.event(0, 0, 0), None, "another ring");
        let control = |word| rings.word(rings.control_page(1), word).unwrap().load(Ordering::Relaxed);
        assert_eq!((control(control::BEGUN), control(control::WRITTEN)), (5, 5));
    }

    #[test]
    fn a_note_stands_for_what_was_overwritten() {
        let rings = rings(1, 64);
        let mut recorded = 0;
        for number in 0..100 {
            rings.record(0, &mut recorded, Event { pid: number, ..Event::default() }, || number as u64);
        }
        let note = rings.event(0, recorded, 10).unwrap();
        assert_eq!((note.kind, note.sequence, note.detail, note.pid), (LOST, 10, 26, 0));
        let first = rings.event(0, recorded, 36).unwrap();
        assert_eq!((first.pid, first.time), (36, note.time));
    }

    #[test]
    fn a_ring_that_is_not_there_takes_nothing() {
        let rings = rings(1, 64);
        let mut recorded = 0;
        rings.record(7, &mut recorded, Event::default(), || 0);
        assert_eq!(recorded, 0);
        assert_eq!(rings.event(7, 1, 0), None);
    }
}
