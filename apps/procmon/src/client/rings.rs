// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mapped rings: events without a copy by the kernel and without a system call. [`procmon_abi::ring`] has the rules.

use std::os::fd::OwnedFd;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use procmon_abi::event::{EVENT_SIZE, EVENT_WORDS, Event};
use procmon_abi::ring::{MAGIC, PAGE, control, header, oldest};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Error;
use super::events::PATH;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// The mapping. What it says of itself was checked: every ring and slot lies in it.
#[derive(Debug)]
pub struct Rings {
    /// Mapped read-only for as long as this value lives, `length` words.
    start: *const AtomicU64,
    length: usize,
    count: usize,
    slots: u64,
    first_ring: usize,
    ring_size: usize,
}

// SAFETY: Memory that belongs to no thread; this value owns the mapping.
unsafe impl Send for Rings {}
// SAFETY: The memory is read only, word by word, as atomics.
unsafe impl Sync for Rings {}

impl Rings {
    pub(super) fn map(file: &OwnedFd) -> Result<Self, Error> {
        let failed = |errno| Error::new(PATH, "mmap", errno);
        // The first page says how much there is.
        let size = Self::map_bytes(file, PAGE)
            .map_err(failed)?
            .word(header::SIZE)
            .map(|size| size.load(Ordering::Acquire));
        let size = size.and_then(|size| usize::try_from(size).ok()).ok_or_else(|| failed(Errno::NODEV))?;
        let mut rings = Self::map_bytes(file, size).map_err(failed)?;
        rings.read_header().ok_or_else(|| failed(Errno::NODEV))?;
        Ok(rings)
    }

    fn map_bytes(file: &OwnedFd, size: usize) -> Result<Self, Errno> {
        // SAFETY: A null hint without MAP_FIXED: the kernel chooses addresses that are free.
        let start = unsafe { mmap(ptr::null_mut(), size, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
        let length = size / WORD;
        Ok(Self { start: start.cast_const().cast(), length, count: 0, slots: 0, first_ring: 0, ring_size: 0 })
    }

    /// Takes over what the header says, if it makes sense.
    fn read_header(&mut self) -> Option<()> {
        let number = |word| usize::try_from(self.word(word)?.load(Ordering::Acquire)).ok();
        let is_known = self.word(header::MAGIC)?.load(Ordering::Acquire) == MAGIC
            && number(header::SLOT_SIZE)? == EVENT_SIZE;
        let (count, slots) = (number(header::RINGS)?, number(header::SLOTS)?);
        let (first_ring, ring_size) = (number(header::FIRST_RING)? / WORD, number(header::RING_SIZE)? / WORD);
        let fits = first_ring.checked_add(count.checked_mul(ring_size)?)? <= self.length
            && slots.checked_mul(EVENT_WORDS)?.checked_add(PAGE / WORD)? <= ring_size;
        if !is_known || !fits || !slots.is_power_of_two() {
            return None;
        }
        (self.count, self.slots, self.first_ring, self.ring_size) =
            (count, u64::try_from(slots).ok()?, first_ring, ring_size);
        Some(())
    }

    /// A reader of what is recorded from now on.
    #[must_use]
    pub fn reader(&self) -> RingReader<'_> {
        let next = (0..self.count).map(|ring| self.control(ring, control::WRITTEN).unwrap_or(0)).collect();
        RingReader { rings: self, next }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: Mapped for as long as `self`, aligned to pages. The kernel writes whole words; we read atomics.
        unsafe { slice::from_raw_parts(self.start, self.length) }
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.words().get(index)
    }

    fn control(&self, ring: usize, word: usize) -> Option<u64> {
        let start = ring.checked_mul(self.ring_size)?.checked_add(self.first_ring)?;
        Some(self.word(start.checked_add(word)?)?.load(Ordering::Acquire))
    }

    fn slot(&self, ring: usize, number: u64) -> Option<&[AtomicU64]> {
        let index = usize::try_from(number & self.slots.wrapping_sub(1)).ok()?;
        let ring = ring.checked_mul(self.ring_size)?.checked_add(self.first_ring)?;
        let start = ring.checked_add(PAGE / WORD)?.checked_add(index.checked_mul(EVENT_WORDS)?)?;
        self.words().get(start..start.checked_add(EVENT_WORDS)?)
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        // SAFETY: Exactly what `map` mapped; all references into it borrow `self`. An error would mean a leak, no more.
        let _ = unsafe { munmap(self.start.cast_mut().cast(), self.length * WORD) };
    }
}

/// Reads the rings one by one; events of different CPUs are not put in order.
#[derive(Debug)]
pub struct RingReader<'a> {
    rings: &'a Rings,
    /// For each ring, the event that comes next.
    next: Vec<u64>,
}

/// What a ring had for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The next event.
    Event(Event),
    /// So many events were overwritten before they could be read.
    Lost(u64),
}

impl RingReader<'_> {
    /// Takes the next event of any ring, or learns of a loss. `None` when all rings are read to their ends.
    pub fn take(&mut self) -> Option<Taken> {
        (0..self.next.len()).find_map(|ring| self.take_of(ring))
    }

    fn take_of(&mut self, ring: usize) -> Option<Taken> {
        let rings = self.rings;
        let next = self.next.get_mut(ring)?;
        let begun = rings.control(ring, control::BEGUN)?;
        if let lost @ 1.. = oldest(begun, rings.slots).saturating_sub(*next) {
            *next = next.saturating_add(lost);
            return Some(Taken::Lost(lost));
        }
        if *next >= rings.control(ring, control::WRITTEN)? {
            return None;
        }
        let mut words = [0; EVENT_WORDS];
        for (to, from) in words.iter_mut().zip(rings.slot(ring, *next)?) {
            *to = from.load(Ordering::Relaxed);
        }
        // What was read is worth something only if nobody had begun to overwrite it by then.
        fence(Ordering::Acquire);
        let begun = rings.control(ring, control::BEGUN)?;
        if let lost @ 1.. = oldest(begun, rings.slots).saturating_sub(*next) {
            *next = next.saturating_add(lost);
            return Some(Taken::Lost(lost));
        }
        *next = next.saturating_add(1);
        Some(Taken::Event(Event::from_words(&words)))
    }
}
