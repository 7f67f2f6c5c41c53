// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical page frames: [`Frame`], a counted reference to one. Where they come from: [`allocator`].

pub(crate) mod allocator;
pub(crate) mod boot_memory;
pub(in crate::mm) mod counts;

use core::{
    ptr,
    sync::atomic::{AtomicU32, AtomicU64},
};

use self::allocator::{give_single, out_of_memory, refuses, take_single};
use super::direct_map::direct;
use crate::PAGE_SIZE;

pub(crate) use allocator::set_nodes;
pub use allocator::{
    SPARE, available, free_for_programs, let_allocations_fail, node_of, totals, with_reserve,
};
pub(crate) use boot_memory::release_initrd;

/// A counted reference to one page frame. Its bytes may be seen and changed by programs at any time, so they are only
/// copied in and out, never borrowed.
#[derive(Debug)]
pub struct Frame(u32);

impl Frame {
    /// A frame with undefined content, for a program; none when memory is short.
    #[inline]
    pub fn allocate() -> Option<Self> {
        Self::take(false)
    }

    /// A frame full of zeros, for a program; none when memory is short.
    #[inline]
    pub fn allocate_zeroed() -> Option<Self> {
        let frame = Self::take(false)?;
        frame.zero();
        Some(frame)
    }

    /// A frame full of zeros for a page table or the like, which may come from the reserve.
    #[inline]
    pub(crate) fn allocate_table() -> Option<Self> {
        let frame = Self::take(true)?;
        frame.zero();
        Some(frame)
    }

    #[inline]
    fn take(reserve: bool) -> Option<Self> {
        if refuses() {
            return None;
        }
        let Some(frame) = take_single(reserve) else {
            out_of_memory();
            return None;
        };
        counts::of(frame).begin();
        Some(Self(frame))
    }

    /// The frame's number: its physical address divided by the page size.
    pub fn number(&self) -> u32 {
        self.0
    }

    /// The frame's address, as a device sees it.
    #[inline]
    pub fn physical(&self) -> u64 {
        u64::from(self.0) * PAGE_SIZE as u64
    }

    /// Gives up the handle without the reference, for a page-table entry.
    #[inline]
    pub(crate) fn into_physical(self) -> u64 {
        let physical = self.physical();
        core::mem::forget(self);
        physical
    }

    /// # Safety
    /// `physical` comes from [`into_physical`](Self::into_physical), and its reference passes to the handle.
    #[inline]
    pub(crate) unsafe fn from_physical(physical: u64) -> Self {
        Self((physical / PAGE_SIZE as u64) as u32)
    }

    /// The frame of a page table that nobody uses any more, whatever its entries were.
    ///
    /// # Safety
    /// As for [`from_physical`](Self::from_physical).
    #[inline]
    pub(crate) unsafe fn from_table(table: u64) -> Self {
        // SAFETY: the caller vouches for it.
        let frame = unsafe { Self::from_physical(table) };
        counts::of(frame.0).begin();
        frame
    }

    #[inline]
    pub(crate) fn pointer(&self) -> *mut u8 {
        direct(self.physical())
    }

    /// Whether this is the only reference.
    #[inline]
    pub fn is_only(&self) -> bool {
        counts::of(self.0).is_only()
    }

    /// Whether this is the only reference, those of pins aside.
    #[inline]
    pub(in crate::mm) fn is_only_but_pins(&self) -> bool {
        counts::of(self.0).is_only_but_pins()
    }

    /// Whether somebody has pinned it.
    #[inline]
    pub fn is_pinned(&self) -> bool {
        counts::of(self.0).is_pinned()
    }

    /// Fills the frame with zeros.
    #[inline]
    pub fn zero(&self) {
        // SAFETY: the frame is ours through the handle; others that share it expect changes.
        unsafe { ptr::write_bytes(self.pointer().cast::<u64>(), 0, PAGE_SIZE / 8) };
    }

    /// The 32-bit word at `offset`, a multiple of 4 inside the frame, for what is shared with a program while both run.
    #[inline]
    pub fn word32(&self, offset: usize) -> Option<&AtomicU32> {
        if offset % 4 != 0 || offset >= PAGE_SIZE {
            return None;
        }
        // SAFETY: an aligned word inside the frame, which lives as long as the handle. Programs may write to it at any time,
        // which is what atomics are for; nobody has a plain reference into a frame.
        Some(unsafe { AtomicU32::from_ptr(self.pointer().add(offset).cast()) })
    }

    /// As [`word32`](Self::word32), of 64 bits.
    #[inline]
    pub fn word64(&self, offset: usize) -> Option<&AtomicU64> {
        if offset % 8 != 0 || offset >= PAGE_SIZE {
            return None;
        }
        // SAFETY: as in `word32`.
        Some(unsafe { AtomicU64::from_ptr(self.pointer().add(offset).cast()) })
    }

    /// Copies from the frame; stops at its end.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        let count = out.len().min(PAGE_SIZE.saturating_sub(offset));
        // SAFETY: `count` bytes from `offset` are inside the frame. A program that writes at the same time can only make
        // the bytes other bytes.
        unsafe {
            ptr::copy_nonoverlapping(self.pointer().add(offset.min(PAGE_SIZE)), out.as_mut_ptr(), count)
        };
    }

    /// Copies to the frame; stops at its end.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let count = bytes.len().min(PAGE_SIZE.saturating_sub(offset));
        // SAFETY: as in `read`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.pointer().add(offset.min(PAGE_SIZE)), count) };
    }

    /// The frame as words, for memory that the kernel and programs look at while the other writes.
    pub fn words(&self) -> &[AtomicU64; PAGE_SIZE / 8] {
        // SAFETY: a whole frame, aligned to its size, that stays as long as this handle. Atomics allow others to change it.
        unsafe { &*self.pointer().cast() }
    }

    /// The same as halves of words.
    pub fn words32(&self) -> &[AtomicU32; PAGE_SIZE / 4] {
        // SAFETY: as in `words`.
        unsafe { &*self.pointer().cast() }
    }

    /// Copies `count` bytes of another frame from `from_offset` on, or of this one; stops where either ends.
    pub fn copy_from(&self, offset: usize, from: &Self, from_offset: usize, count: usize) {
        let (offset, from_offset) = (offset.min(PAGE_SIZE), from_offset.min(PAGE_SIZE));
        let count = count.min(PAGE_SIZE - offset).min(PAGE_SIZE - from_offset);
        // SAFETY: as in `read`, on both sides; `copy` allows that they overlap.
        unsafe { ptr::copy(from.pointer().add(from_offset), self.pointer().add(offset), count) };
    }

    /// Zeroes `count` bytes from `offset` on; stops at its end.
    pub fn zero_range(&self, offset: usize, count: usize) {
        let offset = offset.min(PAGE_SIZE);
        // SAFETY: as in `read`.
        unsafe { ptr::write_bytes(self.pointer().add(offset), 0, count.min(PAGE_SIZE - offset)) };
    }

    /// Zeroes from `offset` to the end.
    pub fn zero_from(&self, offset: usize) {
        self.zero_range(offset, PAGE_SIZE);
    }

    /// A new frame with this one's content; none when memory is short.
    #[inline]
    pub fn duplicate(&self) -> Option<Self> {
        let copy = Self::allocate()?;
        // SAFETY: two different whole frames.
        unsafe {
            ptr::copy_nonoverlapping(self.pointer().cast::<u64>(), copy.pointer().cast(), PAGE_SIZE / 8)
        };
        Some(copy)
    }
}

/// A reference by which a device may write to the frame for a long time. A fork leaves such a frame to the parent, which told the
/// device of it, and gives the child a copy.
#[derive(Debug)]
pub struct Pinned(Frame);

impl Pinned {
    /// Pins a frame; none if too many have.
    pub fn new(frame: Frame) -> Option<Self> {
        counts::of(frame.0).pin().then_some(Self(frame))
    }

    /// The frame.
    pub fn frame(&self) -> &Frame {
        &self.0
    }

    /// Whether nothing but this pin keeps the frame: no program has it mapped any more.
    pub fn is_last(&self) -> bool {
        counts::of(self.0.0).is_last_pin()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The frame's own reference goes after this.
        counts::of(self.0.0).unpin();
    }
}

impl Clone for Frame {
    #[inline]
    fn clone(&self) -> Self {
        counts::of(self.0).share();
        Self(self.0)
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        if counts::of(self.0).release() {
            give_single(self.0);
        }
    }
}
