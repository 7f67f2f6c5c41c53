// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many references a page frame has, and how many of them are pins. `tests/loom.rs` tries all orders.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

/// What a pin adds. Plain references have the bits below: each is an entry of 8 bytes in memory of at most 16 TiB (a frame's number has
/// 32 bits), so that there are never as many.
const PIN: u64 = 1 << 44;
/// Above this no more pins are taken, far from where the count would overflow.
const MOST_PINNED: u64 = 1 << 62;

/// The count of one frame; of a free one it means nothing. All zeros are valid.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), repr(transparent))]
pub struct FrameCount(AtomicU64);

impl FrameCount {
    /// The frame was taken: one reference.
    #[inline]
    pub fn begin(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// One more reference, made from one.
    #[inline]
    pub fn share(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One reference less; true if it was the last, so that the frame is free.
    #[inline]
    pub fn release(&self) -> bool {
        // A sole owner needs no atomic update: nobody else can make a second reference.
        self.0.load(Ordering::Acquire) == 1 || self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether there is one reference, and no pin.
    #[inline]
    pub fn is_only(&self) -> bool {
        self.0.load(Ordering::Acquire) == 1
    }

    /// Pins the frame; false if too many have. Who pins has a reference until after [`unpin`](Self::unpin).
    pub fn pin(&self) -> bool {
        if self.0.fetch_add(PIN, Ordering::AcqRel) < MOST_PINNED {
            return true;
        }
        self.0.fetch_sub(PIN, Ordering::AcqRel);
        false
    }

    /// Takes a pin back.
    pub fn unpin(&self) {
        self.0.fetch_sub(PIN, Ordering::AcqRel);
    }

    /// Whether there is one reference but for those of pins, which have one each.
    #[inline]
    pub fn is_only_but_pins(&self) -> bool {
        let count = self.0.load(Ordering::Acquire);
        (count % PIN).wrapping_sub(count / PIN) == 1
    }

    /// Whether nothing but one pin is left.
    pub fn is_last_pin(&self) -> bool {
        self.0.load(Ordering::Acquire) == PIN + 1
    }

    /// The frame is a page table, which has one owner: `added` more of its entries are in use. The owner alone calls this.
    #[inline]
    pub fn add_entries(&self, added: u32) {
        self.0.store(self.0.load(Ordering::Relaxed) + u64::from(added), Ordering::Relaxed);
    }

    /// `removed` of a page table's entries are empty now: how many are left in use. The owner alone calls this.
    #[inline]
    pub fn remove_entries(&self, removed: u32) -> u64 {
        let left = self.0.load(Ordering::Relaxed) - u64::from(removed);
        self.0.store(left, Ordering::Relaxed);
        left - 1
    }

    /// Whether somebody has pinned it.
    #[inline]
    pub fn is_pinned(&self) -> bool {
        self.0.load(Ordering::Acquire) >= PIN
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_pin_does_not_make_a_page_shared() {
        let count = FrameCount::default();
        count.begin();
        count.share();
        assert!(count.pin() && count.is_only_but_pins() && !count.is_last_pin());
        count.share();
        assert!(!count.is_only_but_pins());
        assert!(!count.release() && !count.release() && count.is_last_pin());
    }

    #[test]
    fn a_table_knows_when_it_is_empty() {
        let count = FrameCount::default();
        count.begin();
        count.add_entries(3);
        assert_eq!((count.remove_entries(2), count.remove_entries(1)), (1, 0));
    }

    #[test]
    fn the_last_reference_frees() {
        let count = FrameCount::default();
        count.begin();
        assert!(count.is_only() && !count.is_pinned());
        count.share();
        assert!(!count.is_only() && count.pin() && count.is_pinned());
        count.unpin();
        assert!(!count.is_pinned() && !count.release() && count.is_only() && count.release());
    }

    #[test]
    fn pins_have_an_end_and_plain_references_are_none() {
        let count = FrameCount(AtomicU64::new(MOST_PINNED));
        assert!(!count.pin());
        assert_eq!(count.0.into_inner(), MOST_PINNED);
        assert!(!FrameCount(AtomicU64::new(PIN - 1)).is_pinned());
    }
}
