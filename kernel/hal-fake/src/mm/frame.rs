// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page frames: counted references to pages of the host's memory, of which there are as many as a test says.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use exo_logic::frame_count::FrameCount;
use parking_lot::Mutex;

use super::contents::{Contents, WORDS};
use crate::{PAGE_SIZE, hooks};

/// As many as nobody asks for by mistake.
const PLENTY: usize = 1 << 20;
/// The last one is not given away, as on the real machine.
const RESERVE: usize = 1;
/// What a frame holds whose content is undefined.
const GARBAGE: u8 = 0xa5;

/// So many frames have to be [`available`] for the next page fault: no CPU has a stock of them here.
pub const SPARE: usize = 1;

static TOTAL: AtomicUsize = AtomicUsize::new(PLENTY);
static FREE: AtomicUsize = AtomicUsize::new(PLENTY);
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MAY_FAIL: AtomicBool = AtomicBool::new(false);
static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { free: Vec::new(), next: 1 });

thread_local! {
    /// What runs on this thread of the host, and cannot be switched away from meanwhile, may have the reserve.
    static USES_RESERVE: Cell<bool> = const { Cell::new(false) };
}

/// The numbers of frames that are free: those that somebody had, and all from `next` on.
struct Numbers {
    free: Vec<u32>,
    next: u32,
}

impl Numbers {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

/// Frames in all, and free ones.
pub fn totals() -> (usize, usize) {
    (TOTAL.load(Ordering::Relaxed), FREE.load(Ordering::Relaxed))
}

/// How many frames programs may still have.
pub fn free_for_programs() -> usize {
    FREE.load(Ordering::Relaxed).saturating_sub(RESERVE)
}

/// Whether programs may have another `frames` frames.
pub fn available(frames: usize) -> bool {
    FREE.load(Ordering::Relaxed) >= frames.saturating_add(RESERVE)
}

/// Does `work` with frames for programs taken from the reserve too.
pub fn with_reserve<T>(work: impl FnOnce() -> T) -> T {
    let before = USES_RESERVE.replace(true);
    let result = work();
    USES_RESERVE.set(before);
    result
}

/// From now on the kernel is asked at each allocation that may fail whether it does.
pub fn let_allocations_fail() {
    MAY_FAIL.store(true, Ordering::Relaxed);
}

/// For tests: programs may have another `frames` frames, whatever is allocated; 2^20 when a machine starts.
pub fn set_free(frames: usize) {
    FREE.store(frames + RESERVE, Ordering::Relaxed);
}

/// For tests: the kernel itself has taken all frames, its reserve too.
pub fn exhaust() {
    FREE.store(0, Ordering::Relaxed);
}

/// For tests: the machine has `frames` frames, those in use included; 2^20 when it starts.
pub fn set_total(frames: usize) {
    TOTAL.store(frames, Ordering::Relaxed);
    set_free(frames.saturating_sub(in_use()));
}

/// For tests: how many frames somebody has.
pub fn in_use() -> usize {
    IN_USE.load(Ordering::Relaxed)
}

pub(crate) fn reset() {
    TOTAL.store(PLENTY, Ordering::Relaxed);
    set_free(PLENTY);
    MAY_FAIL.store(false, Ordering::Relaxed);
}

pub(super) fn refuses() -> bool {
    MAY_FAIL.load(Ordering::Relaxed) && (hooks::get().refuses_allocation)()
}

/// A 64-bit word of a frame. On the real machine it is an atomic one; here it is two halves, for tests on one CPU.
pub struct Word64<'a>(&'a [AtomicU32]);

impl Word64<'_> {
    /// Its value.
    pub fn load(&self, order: Ordering) -> u64 {
        self.0.iter().rev().fold(0, |value, half| (value << 32) | u64::from(half.load(order)))
    }

    /// Changes it.
    pub fn store(&self, value: u64, order: Ordering) {
        self.0[0].store(value as u32, order);
        self.0[1].store((value >> 32) as u32, order);
    }
}

/// A counted reference to one page frame.
#[derive(Debug)]
pub struct Frame(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: u32,
    count: FrameCount,
    contents: Contents,
}

impl Frame {
    /// A frame with undefined content, for a program; none when memory is short.
    pub fn allocate() -> Option<Self> {
        Self::take(GARBAGE)
    }

    /// A frame full of zeros, for a program; none when memory is short.
    pub fn allocate_zeroed() -> Option<Self> {
        Self::take(0)
    }

    fn take(content: u8) -> Option<Self> {
        if refuses() {
            return None;
        }
        let kept = if USES_RESERVE.get() { 0 } else { RESERVE };
        let one_less = |free: usize| free.checked_sub(1).filter(|left| *left >= kept);
        if FREE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err() {
            (hooks::get().out_of_memory)();
            return None;
        }
        IN_USE.fetch_add(1, Ordering::Relaxed);
        let count = FrameCount::default();
        count.begin();
        let number = NUMBERS.lock().take();
        Some(Self(Arc::new(Inner { number, count, contents: Contents::filled(content) })))
    }

    /// The frame's number: its physical address divided by the page size.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// The frame's address, as a device sees it.
    pub fn physical(&self) -> u64 {
        u64::from(self.0.number) * PAGE_SIZE as u64
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.0.contents
    }

    /// Whether this is the only reference.
    pub fn is_only(&self) -> bool {
        self.0.count.is_only()
    }

    /// Whether this is the only reference, those of pins aside.
    pub(super) fn is_only_but_pins(&self) -> bool {
        self.0.count.is_only_but_pins()
    }

    /// Whether somebody has pinned it.
    pub fn is_pinned(&self) -> bool {
        self.0.count.is_pinned()
    }

    /// Fills the frame with zeros.
    pub fn zero(&self) {
        self.zero_from(0);
    }

    /// The 32-bit word at `offset`, a multiple of 4 inside the frame.
    pub fn word32(&self, offset: usize) -> Option<&AtomicU32> {
        if offset % 4 == 0 { self.words32().get(offset / 4) } else { None }
    }

    /// The 64-bit word at `offset`, a multiple of 8 inside the frame.
    pub fn word64(&self, offset: usize) -> Option<Word64<'_>> {
        let halves = if offset % 8 == 0 { self.words32().get(offset / 4..offset / 4 + 2) } else { None };
        halves.map(Word64)
    }

    /// The frame as halves of words.
    pub fn words32(&self) -> &[AtomicU32; WORDS] {
        self.0.contents.words()
    }

    /// Copies from the frame; stops at its end.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        let count = out.len().min(PAGE_SIZE.saturating_sub(offset));
        self.0.contents.read(offset, &mut out[..count]);
    }

    /// Copies to the frame; stops at its end.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let count = bytes.len().min(PAGE_SIZE.saturating_sub(offset));
        self.0.contents.write(offset, &bytes[..count]);
    }

    /// Copies `count` bytes of another frame from `from_offset` on, or of this one; stops where either ends.
    pub fn copy_from(&self, offset: usize, from: &Self, from_offset: usize, count: usize) {
        let (offset, from_offset) = (offset.min(PAGE_SIZE), from_offset.min(PAGE_SIZE));
        let count = count.min(PAGE_SIZE - offset).min(PAGE_SIZE - from_offset);
        let mut bytes = [0; PAGE_SIZE];
        from.read(from_offset, &mut bytes[..count]);
        self.write(offset, &bytes[..count]);
    }

    /// Zeroes `count` bytes from `offset` on; stops at its end.
    pub fn zero_range(&self, offset: usize, count: usize) {
        let offset = offset.min(PAGE_SIZE);
        self.0.contents.zero(offset, count.min(PAGE_SIZE - offset));
    }

    /// Zeroes from `offset` to the end.
    pub fn zero_from(&self, offset: usize) {
        self.zero_range(offset, PAGE_SIZE);
    }

    /// A new frame with this one's content; none when memory is short.
    pub fn duplicate(&self) -> Option<Self> {
        let copy = Self::allocate()?;
        let mut bytes = [0; PAGE_SIZE];
        self.read(0, &mut bytes);
        copy.write(0, &bytes);
        Some(copy)
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        self.0.count.share();
        Self(self.0.clone())
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if self.0.count.release() {
            NUMBERS.lock().free.push(self.0.number);
            IN_USE.fetch_sub(1, Ordering::Relaxed);
            FREE.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A reference by which a device may write to the frame for a long time. A fork leaves such a frame to the parent, which told the
/// device of it, and gives the child a copy.
#[derive(Debug)]
pub struct Pinned(Frame);

impl Pinned {
    /// Pins a frame; none if too many have.
    pub fn new(frame: Frame) -> Option<Self> {
        frame.0.count.pin().then_some(Self(frame))
    }

    /// The frame.
    pub fn frame(&self) -> &Frame {
        &self.0
    }

    /// Whether nothing but this pin keeps the frame: no program has it mapped any more.
    pub fn is_last(&self) -> bool {
        self.0.0.count.is_last_pin()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The frame's own reference goes after this.
        self.0.0.count.unpin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_were_written_wherever_words_begin() {
        let contents = Contents::filled(0);
        contents.write(3, b"exokernel");
        contents.zero(5, 2);
        let mut out = [0xff; 12];
        contents.read(2, &mut out);
        assert_eq!(&out, b"\0ex\0\0ernel\0\0");
        contents.write(PAGE_SIZE - 1, b"!");
        contents.read(PAGE_SIZE - 1, &mut out[..1]);
        assert_eq!(out[0], b'!');
    }
}
