// SPDX-License-Identifier: GPL-2.0

//! A ring of events for each CPU, in memory that programs can map.
//!
//! [`abi::ring`](crate::abi::ring) says how the memory is laid out and in which order a ring's
//! words are written, for those who read it without asking the kernel. A reader in the kernel takes
//! the ring's lock, for one event at a time.
//!
//! The lock of a ring is nearly always free, since nearly always it is its own CPU that takes it.
//! It is there because the recording process may be moved to another CPU, or another process may
//! take its place, at any time.

use crate::{
    abi::{
        event::{
            Event,
            EVENT_SIZE,
            EVENT_WORDS,
            LOST, //
        },
        ring::{
            control,
            header,
            oldest,
            MAGIC,
            PAGE, //
        },
    },
    mechanisms::{
        credentials::Owner,
        MmapBuffer, //
    },
    parameters,
    time, //
};
use kernel::{
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        barrier::{
            smp_mb,
            Write, //
        },
        SpinLock, //
    },
};

/// Events on a page.
const EVENTS_PER_PAGE: usize = PAGE / EVENT_SIZE;

/// The rings of all CPUs.
pub(crate) struct Rings {
    memory: MmapBuffer,
    /// How many events a ring holds: a power of two.
    slots: u64,
    /// By number of the CPU.
    rings: KVec<Ring>,
}

/// What is not in the memory that programs see.
struct Ring {
    /// Its control page in `memory`; the slots are on the pages after it.
    page: usize,
    recorded: Pin<KBox<Recorded>>,
    /// Whose each event is, by slot: not for programs to see.
    owners: KVVec<Atomic<u64>>,
}

/// How many events a ring has recorded. On a cache line that no other ring's lock shares.
#[pin_data]
#[repr(align(64))]
struct Recorded {
    #[pin]
    count: SpinLock<u64>,
}

impl Rings {
    pub(super) fn new() -> Result<Self> {
        let slots = parameters::RING_EVENTS.get();
        // CAST: Lossless, `usize` has at least 32 bits.
        let (count, slot_pages) = (nr_cpu_ids() as usize, slots as usize / EVENTS_PER_PAGE);

        let ring_pages = slot_pages.checked_add(1).ok_or(EOVERFLOW)?;
        let pages = ring_pages
            .checked_mul(count)
            .and_then(|pages| pages.checked_add(1))
            .ok_or(EOVERFLOW)?;
        let memory = MmapBuffer::new(pages)?;

        let mut rings = KVec::with_capacity(count, GFP_KERNEL)?;
        for number in 0..count {
            let ring = Ring {
                page: 1 + number * ring_pages,
                recorded: KBox::pin_init(
                    pin_init!(Recorded {
                        count <- new_spinlock!(0),
                    }),
                    GFP_KERNEL,
                )?,
                owners: owners(slots)?,
            };
            // CAST: Lossless.
            set(&memory, ring.page, control::CPU, number as u64);
            rings.push(ring, GFP_KERNEL)?;
        }

        // CAST: All lossless.
        for (word, value) in [
            (header::MAGIC, MAGIC),
            (header::RINGS, count as u64),
            (header::SLOTS, slots.into()),
            (header::SLOT_SIZE, EVENT_SIZE as u64),
            (header::FIRST_RING, PAGE as u64),
            (header::RING_SIZE, (ring_pages * PAGE) as u64),
            (header::SIZE, (pages * PAGE) as u64),
        ] {
            set(&memory, 0, word, value);
        }

        Ok(Self {
            memory,
            slots: slots.into(),
            rings,
        })
    }

    /// Returns how many rings there are.
    pub(super) fn count(&self) -> usize {
        self.rings.len()
    }

    /// Returns the memory, for programs to map.
    pub(super) fn memory(&self) -> &MmapBuffer {
        &self.memory
    }

    /// Returns how many events all rings have recorded since the module was loaded.
    pub(crate) fn recorded(&self) -> u64 {
        self.rings
            .iter()
            .filter_map(|ring| self.word(ring.page, control::WRITTEN))
            .fold(0, |sum, written| sum.wrapping_add(written.load(Relaxed)))
    }

    /// Returns how many events the ring has recorded.
    pub(super) fn recorded_in(&self, number: usize) -> u64 {
        self.rings
            .get(number)
            .and_then(|ring| self.word(ring.page, control::WRITTEN))
            .map_or(0, |written| written.load(Acquire))
    }

    /// Records an event in the ring of this CPU. Its sequence, time and CPU are filled in here.
    pub(super) fn record(&self, mut event: Event, owner: Owner) {
        let cpu = u32::from(CpuId::current());
        // CAST: Lossless, `usize` has at least 32 bits.
        let Some(ring) = self.rings.get(cpu as usize) else {
            return;
        };
        let (Some(begun), Some(written)) = (
            self.word(ring.page, control::BEGUN),
            self.word(ring.page, control::WRITTEN),
        ) else {
            return;
        };

        let mut recorded = ring.recorded.count.lock();
        let Some(slot) = self.slot(ring, *recorded) else {
            return;
        };
        let next = recorded.wrapping_add(1);
        event.sequence = *recorded;
        event.cpu = cpu;
        // Under the lock, so that the times of a ring never fall, and an event that is not there
        // yet when a reader has looked is later than the reader's look.
        event.time = time::now();

        begun.store(next, Relaxed);
        // A reader that sees any of the new words also sees that they were begun.
        smp_mb(Write);
        for (word, value) in slot.iter().zip(event.to_words()) {
            word.store(value, Relaxed);
        }
        if let Some(word) = ring.owners.get(self.index(*recorded)) {
            word.store(owner.to_word(), Relaxed);
        }
        // A reader that sees the event counted sees all its words.
        written.store(next, Release);
        *recorded = next;
    }

    /// Returns the event `next` of a ring, or what is in its place: nothing, because it was not
    /// recorded yet, or a note about how many were lost from there on. Also returns whose it is.
    pub(super) fn event(&self, number: usize, next: u64) -> Option<(Event, Owner)> {
        let ring = self.rings.get(number)?;
        let recorded = ring.recorded.count.lock();

        // The lock is held: all that was begun is written.
        let oldest = oldest(*recorded, self.slots);
        if next >= *recorded {
            return None;
        }
        let (event, owner) = self.read(ring, next.max(oldest))?;
        if next >= oldest {
            return Some((event, owner));
        }
        let lost = Event {
            sequence: next,
            // At the time of the first that is still there, so that it comes just before it.
            time: event.time,
            kind: LOST,
            cpu: event.cpu,
            detail: oldest.saturating_sub(next),
            ..Event::default()
        };
        Some((lost, owner))
    }

    fn read(&self, ring: &Ring, number: u64) -> Option<(Event, Owner)> {
        let slot = self.slot(ring, number)?;
        let mut words = [0; EVENT_WORDS];
        for (to, from) in words.iter_mut().zip(slot) {
            *to = from.load(Relaxed);
        }
        let owner = ring.owners.get(self.index(number))?.load(Relaxed);
        Some((Event::from_words(&words), Owner::from_word(owner)))
    }

    /// Returns the slot of event `number`.
    fn index(&self, number: u64) -> usize {
        // CAST: Lossless: `slots` came from an `u32`.
        (number & (self.slots - 1)) as usize
    }

    /// Returns the words of the slot in which event `number` of a ring is or will be.
    fn slot(&self, ring: &Ring, number: u64) -> Option<&[Atomic<u64>]> {
        let index = self.index(number);
        let page = self.memory.get(ring.page + 1 + index / EVENTS_PER_PAGE)?;

        let first = index % EVENTS_PER_PAGE * EVENT_WORDS;
        page.get(first..first + EVENT_WORDS)
    }

    fn word(&self, page: usize, word: usize) -> Option<&Atomic<u64>> {
        self.memory.get(page)?.get(word)
    }
}

fn owners(slots: u32) -> Result<KVVec<Atomic<u64>>> {
    // CAST: Lossless, `usize` has at least 32 bits.
    let mut owners = KVVec::with_capacity(slots as usize, GFP_KERNEL)?;
    for _ in 0..slots {
        owners.push(Atomic::new(Owner::PRIVILEGED.to_word()), GFP_KERNEL)?;
    }
    Ok(owners)
}

/// Sets a word when nobody looks yet.
fn set(memory: &MmapBuffer, page: usize, word: usize, value: u64) {
    if let Some(word) = memory.get(page).and_then(|page| page.get(word)) {
        word.store(value, Relaxed);
    }
}
