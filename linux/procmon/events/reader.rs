// SPDX-License-Identifier: GPL-2.0

//! One open file of `/dev/procmon_events`: where it is in each ring, and merging them by time.
//!
//! Events of different CPUs are put in order by their times. But an event with an early time could
//! still turn up in a ring that was already looked at. So the time is taken before looking, and
//! only what is not later is given out: whatever turns up after the look was recorded after it, and
//! is later. Together with each ring's times never falling this makes the order exact.

use super::rings::Rings;
use crate::{
    abi::event::{
        Event,
        EVENT_SIZE,
        EXIT,
        LOST,
        STATUS_HIDDEN, //
    },
    mechanisms::{
        credentials::{
            Owner,
            ProcessAccess, //
        },
        time_ns, //
    },
    time, //
};
use kernel::{
    bindings,
    iov::IovIterDest,
    page::Page,
    prelude::*,
    transmute::AsBytes, //
};

/// How many events are put in order at a time.
const BATCH: usize = 32;

/// How often memory of the program may vanish between being faulted in and being written to.
pub(super) const FAULT_IN_RETRIES: u32 = 100;

/// How far [`Reader::copy_events`] got.
pub(super) struct Copied {
    /// Bytes that were copied to the program.
    pub(super) bytes: usize,
    /// Whether memory of the program was missing.
    pub(super) faulted: bool,
}

/// The state of an open file.
pub(super) struct Reader {
    cursors: KVec<Cursor>,
    /// Events in order, to be given out next; from `given` on.
    batch: KVec<(Event, Owner)>,
    given: usize,
    /// How many events were lost so far.
    lost: u64,
    access: ProcessAccess,
    /// What the time namespace of the opener adds to `CLOCK_MONOTONIC`.
    time_offset: i64,
    /// Where an event is put to be copied to the program: only pages can be copied from without
    /// faulting.
    staging: Page,
}

/// How far the file is in one ring.
#[derive(Default)]
struct Cursor {
    /// The event that comes after `event`.
    next: u64,
    /// One that was taken out of the ring, but not given out yet.
    event: Option<(Event, Owner)>,
    /// When the ring was last found empty.
    empty_at: u64,
}

impl Reader {
    /// A reader of what is recorded from now on.
    pub(super) fn new(rings: &Rings, access: ProcessAccess) -> Result<Self> {
        let mut reader = Self {
            cursors: KVec::with_capacity(rings.count(), GFP_KERNEL)?,
            batch: KVec::with_capacity(BATCH, GFP_KERNEL)?,
            given: 0,
            lost: 0,
            access,
            time_offset: time_ns::monotonic_offset(),
            staging: Page::alloc_page(GFP_KERNEL)?,
        };
        for _ in 0..rings.count() {
            reader.cursors.push(Cursor::default(), GFP_KERNEL)?;
        }
        reader.skip(rings);
        Ok(reader)
    }

    /// Forgets what was recorded until now.
    pub(super) fn skip(&mut self, rings: &Rings) {
        self.batch.clear();
        self.given = 0;
        for (number, cursor) in self.cursors.iter_mut().enumerate() {
            *cursor = Cursor {
                next: rings.recorded_in(number),
                ..Cursor::default()
            };
        }
    }

    /// Returns how many events this file has lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Tells whether there is something to read.
    pub(super) fn is_readable(&self, rings: &Rings) -> bool {
        self.given < self.batch.len()
            || self.cursors.iter().enumerate().any(|(number, cursor)| {
                cursor.event.is_some() || cursor.next < rings.recorded_in(number)
            })
    }

    /// Copies as many whole events to the program as there are and as fit, without faulting: this
    /// is called under a lock. Nothing is lost if the memory is missing.
    pub(super) fn copy_events(
        &mut self,
        rings: &Rings,
        iov: &mut IovIterDest<'_>,
    ) -> Result<Copied> {
        let mut bytes = 0;
        while iov.len() >= EVENT_SIZE {
            let Some(event) = self.head(rings) else {
                break;
            };
            if !self.copy_event(&event, iov)? {
                return Ok(Copied {
                    bytes,
                    faulted: true,
                });
            }
            if event.kind == LOST {
                self.lost = self.lost.saturating_add(event.detail);
            }
            self.given += 1;
            bytes += EVENT_SIZE;
        }
        Ok(Copied {
            bytes,
            faulted: false,
        })
    }

    /// Copies an event to the program without faulting. Returns whether all of it was copied; if
    /// not, `iov` is as it was.
    fn copy_event(&self, event: &Event, iov: &mut IovIterDest<'_>) -> Result<bool> {
        let from = event.as_bytes();
        // SAFETY: The bytes of `event` are valid, and nobody else has the page.
        unsafe { self.staging.write_raw(from.as_ptr(), 0, from.len()) }?;

        // SAFETY: The page has these bytes, and `iov` is a valid destination. What was copied of an
        // event that did not fit is taken back.
        unsafe {
            let page = self.staging.as_ptr();
            let copied = bindings::copy_page_to_iter_nofault(page, 0, from.len(), iov.as_raw());
            if copied != from.len() {
                bindings::iov_iter_revert(iov.as_raw(), copied);
            }
            Ok(copied == from.len())
        }
    }

    /// Returns the event that is to be given out next.
    fn head(&mut self, rings: &Rings) -> Option<Event> {
        if self.given >= self.batch.len() {
            self.batch.clear();
            self.given = 0;
            self.fill_batch(rings);
        }
        let (mut event, owner) = *self.batch.get(self.given)?;
        if event.kind == EXIT && !self.access.permits(owner) {
            event.detail = STATUS_HIDDEN;
        }
        event.time = event.time.wrapping_add_signed(self.time_offset);
        Some(event)
    }

    /// Puts the next events in order.
    fn fill_batch(&mut self, rings: &Rings) {
        let now = time::now();

        while self.batch.len() < BATCH {
            let Some(event) = self.earliest(rings, now) else {
                return;
            };
            // There is room for a batch.
            if self.batch.push_within_capacity(event).is_err() {
                return;
            }
        }
    }

    /// Takes the earliest event of all rings that is not later than `now`.
    fn earliest(&mut self, rings: &Rings, now: u64) -> Option<(Event, Owner)> {
        let mut earliest: Option<(u64, usize)> = None;

        for (number, cursor) in self.cursors.iter_mut().enumerate() {
            cursor.look(rings, number, now);
            if let Some((event, _)) = &cursor.event {
                if event.time <= now && earliest.is_none_or(|(time, _)| event.time < time) {
                    earliest = Some((event.time, number));
                }
            }
        }
        let (_, number) = earliest?;
        self.cursors.get_mut(number)?.event.take()
    }
}

impl Cursor {
    /// Takes the next event out of the ring, if there is one that could be given out at `now`.
    fn look(&mut self, rings: &Rings, number: usize, now: u64) {
        // What has come since it was found empty is later than `now`.
        if self.event.is_some() || self.empty_at == now {
            return;
        }
        match rings.event(number, self.next) {
            Some((event, owner)) => {
                let step = if event.kind == LOST { event.detail } else { 1 };
                self.next = self.next.saturating_add(step);
                self.event = Some((event, owner));
            }
            None => self.empty_at = now,
        }
    }
}
