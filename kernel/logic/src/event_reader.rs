// SPDX-License-Identifier: MIT OR Apache-2.0
//! One open file of `/dev/procmon_events`: where it is in each ring, and merging them by time.
//!
//! Events of different CPUs are put in order by their times. But an event with an early time could still turn up in a ring
//! that was already looked at. So the time is taken before looking, and only what is not later is given out: whatever turns
//! up after the look was recorded after it, and is later. Together with each ring's times never falling this makes the order
//! exact.

use alloc::vec::Vec;

use procmon_abi::event::{Event, LOST};

/// Rings, and the clock that their events have their times from.
pub trait Source {
    /// How many rings there are.
    fn count(&self) -> usize;
    /// How many events a ring has had.
    fn recorded_in(&self, ring: usize) -> u64;
    /// Event `next` of a ring, or a note that it and more were lost, or nothing yet.
    fn event(&self, ring: usize, next: u64) -> Option<Event>;
    /// The time.
    fn now(&self) -> u64;
}

/// How far a reader is in one ring.
#[derive(Debug, Default)]
struct Cursor {
    /// The event that comes after `event`.
    next: u64,
    /// One that was taken out of the ring, but not given out yet.
    event: Option<Event>,
    /// When the ring was last found empty.
    empty_at: u64,
}

/// The state of an open file.
#[derive(Debug)]
pub struct Reader {
    cursors: Vec<Cursor>,
    /// The event that is to be given out next.
    head: Option<Event>,
    /// The time before the last look.
    looked: u64,
    lost: u64,
}

impl Reader {
    /// A reader of what is recorded from now on.
    pub fn new(source: &impl Source) -> Self {
        let cursors = (0..source.count()).map(|_| Cursor::default()).collect();
        let mut reader = Self { cursors, head: None, looked: 0, lost: 0 };
        reader.skip(source);
        reader
    }

    /// Forgets what was recorded until now.
    pub fn skip(&mut self, source: &impl Source) {
        self.head = None;
        for (ring, cursor) in self.cursors.iter_mut().enumerate() {
            *cursor = Cursor { next: source.recorded_in(ring), ..Cursor::default() };
        }
    }

    /// How many events were lost so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether there is something to read.
    pub fn is_readable(&self, source: &impl Source) -> bool {
        self.head.is_some()
            || self
                .cursors
                .iter()
                .enumerate()
                .any(|(ring, cursor)| cursor.event.is_some() || cursor.next < source.recorded_in(ring))
    }

    /// The next event, if there is one. It stays the next until it is [`taken`](Self::taken).
    pub fn peek(&mut self, source: &impl Source) -> Option<Event> {
        if self.head.is_none() {
            self.head = self.earliest(source);
            if self.head.is_none() {
                self.looked = source.now();
                self.head = self.earliest(source);
            }
        }
        self.head
    }

    /// The program has the event that was peeked at.
    pub fn taken(&mut self) {
        if let Some(event) = self.head.take().filter(|event| event.kind == LOST) {
            self.lost = self.lost.saturating_add(event.detail);
        }
    }

    /// Takes the earliest event of all rings that is not later than the last look.
    fn earliest(&mut self, source: &impl Source) -> Option<Event> {
        let mut earliest: Option<(u64, usize)> = None;
        for (ring, cursor) in self.cursors.iter_mut().enumerate() {
            cursor.look(source, ring, self.looked);
            if let Some(event) = &cursor.event {
                if event.time <= self.looked && earliest.is_none_or(|(time, _)| event.time < time) {
                    earliest = Some((event.time, ring));
                }
            }
        }
        let (_, ring) = earliest?;
        self.cursors.get_mut(ring)?.event.take()
    }
}

impl Cursor {
    /// Takes the next event out of the ring, if there is one that could be given out at `now`.
    fn look(&mut self, source: &impl Source, ring: usize, now: u64) {
        // What has come since it was found empty is later than `now`.
        if self.event.is_some() || self.empty_at == now && now != 0 {
            return;
        }
        match source.event(ring, self.next) {
            Some(event) => {
                let step = if event.kind == LOST { event.detail } else { 1 };
                self.next = self.next.saturating_add(step);
                self.event = Some(event);
            }
            None => self.empty_at = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use core::cell::{Cell, RefCell};

    use super::*;

    /// Rings without memory: all events of each, and the time.
    #[derive(Default)]
    struct Told {
        rings: RefCell<[Vec<Event>; 2]>,
        /// The first event that each ring still has.
        oldest: Cell<u64>,
        now: Cell<u64>,
    }

    impl Told {
        fn record(&self, ring: usize, pid: i32) {
            self.now.set(self.now.get() + 10);
            let mut rings = self.rings.borrow_mut();
            let sequence = rings[ring].len() as u64;
            rings[ring].push(Event { sequence, time: self.now.get(), pid, kind: 1, ..Event::default() });
        }
    }

    impl Source for Told {
        fn count(&self) -> usize {
            2
        }

        fn recorded_in(&self, ring: usize) -> u64 {
            self.rings.borrow()[ring].len() as u64
        }

        fn event(&self, ring: usize, next: u64) -> Option<Event> {
            let rings = self.rings.borrow();
            let event = rings[ring].get(next.max(self.oldest.get()) as usize)?;
            if next < self.oldest.get() {
                let detail = self.oldest.get() - next;
                return Some(Event { kind: LOST, detail, time: event.time, ..Event::default() });
            }
            Some(*event)
        }

        fn now(&self) -> u64 {
            self.now.get()
        }
    }

    fn drain(reader: &mut Reader, source: &Told) -> Vec<(u32, i32)> {
        core::iter::from_fn(|| {
            let event = reader.peek(source)?;
            reader.taken();
            Some((event.kind, event.pid))
        })
        .collect()
    }

    #[test]
    fn two_rings_are_merged_by_time() {
        let source = Told::default();
        source.record(0, 99);
        let mut reader = Reader::new(&source);
        assert!(!reader.is_readable(&source), "what was before it was opened");
        for (ring, pid) in [(1, 1), (0, 2), (0, 3), (1, 4), (0, 5)] {
            source.record(ring, pid);
        }
        assert!(reader.is_readable(&source));
        assert_eq!(drain(&mut reader, &source), [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]);
        assert!(!reader.is_readable(&source));
        source.record(1, 6);
        assert_eq!(drain(&mut reader, &source), [(1, 6)]);
    }

    #[test]
    fn an_event_that_no_program_took_is_given_again() {
        let source = Told::default();
        let mut reader = Reader::new(&source);
        source.record(0, 1);
        assert_eq!(reader.peek(&source).map(|e| e.pid), Some(1));
        assert_eq!(reader.peek(&source).map(|e| e.pid), Some(1));
        assert!(reader.is_readable(&source));
        reader.skip(&source);
        assert_eq!(reader.peek(&source), None);
    }

    #[test]
    fn what_was_lost_is_counted_when_it_is_told() {
        let source = Told::default();
        let mut reader = Reader::new(&source);
        (0..20).for_each(|pid| source.record(0, pid));
        source.oldest.set(15);
        assert_eq!(reader.peek(&source).map(|e| (e.kind, e.detail)), Some((LOST, 15)));
        assert_eq!(reader.lost(), 0);
        let pids: Vec<_> = drain(&mut reader, &source).iter().skip(1).map(|e| e.1).collect();
        assert_eq!(pids, [15, 16, 17, 18, 19]);
        assert_eq!(reader.lost(), 15);
    }

    #[test]
    fn an_event_later_than_the_look_waits_for_the_next() {
        let source = Told::default();
        let mut reader = Reader::new(&source);
        source.record(0, 1);
        // As if the event had been recorded while the reader was looking.
        source.now.set(5);
        assert_eq!(reader.peek(&source), None);
        assert!(reader.is_readable(&source));
        source.now.set(10);
        assert_eq!(reader.peek(&source).map(|e| e.pid), Some(1));
    }
}
