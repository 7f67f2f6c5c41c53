// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own mappings: device registers, and kernel stacks with a guard page below each.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::{
    frame::Frame,
    paging::{self, NoMemory, bit},
};
use crate::{KERNEL_MAPPINGS, PAGE_SIZE, sync::SpinLock};

/// Pages of a kernel stack.
const STACK_PAGES: usize = 7;
/// Address space of a kernel stack: the guard page is the lowest.
const STACK_SPAN: u64 = 8 * PAGE_SIZE as u64;
/// Device registers lie above this, stacks below.
const DEVICES: u64 = KERNEL_MAPPINGS + (256 << 30);

/// The end of what every root table has the second-level table for.
const DEVICES_END: u64 = KERNEL_MAPPINGS + (512 << 30);

static NEXT_STACK: AtomicU64 = AtomicU64::new(KERNEL_MAPPINGS);
static NEXT_DEVICE: AtomicU64 = AtomicU64::new(DEVICES);
/// Stacks that exist, free or not.
static MADE_STACKS: AtomicUsize = AtomicUsize::new(0);
static FREE_STACKS: SpinLock<Vec<u64>> = SpinLock::new(Vec::new());

/// The next `size` bytes of addresses below `end`.
fn take(next: &AtomicU64, size: u64, end: u64) -> Result<u64, NoMemory> {
    let after = |at: u64| at.checked_add(size).filter(|after| *after <= end);
    next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).map_err(|_| NoMemory)
}

/// Maps `size` bytes of device registers at `physical`, uncached.
pub(crate) fn map_device(physical: u64, size: usize) -> *mut u8 {
    try_map_device(physical, size).expect("page tables for device registers")
}

/// The same, for what the kernel can do without.
pub(crate) fn try_map_device(physical: u64, size: usize) -> Result<*mut u8, NoMemory> {
    let offset = physical % PAGE_SIZE as u64;
    let pages = (offset as usize).checked_add(size).ok_or(NoMemory)?.div_ceil(PAGE_SIZE) as u64;
    let base = take(&NEXT_DEVICE, pages * PAGE_SIZE as u64, DEVICES_END)?;
    let flags = bit::WRITE | bit::NO_EXECUTE | bit::CACHE_DISABLE | bit::WRITE_THROUGH;
    for page in 0..pages {
        let at = page * PAGE_SIZE as u64;
        paging::map_kernel_page(base + at, physical - offset + at, flags)?;
    }
    Ok((base + offset) as *mut u8)
}

/// A kernel stack. Its memory stays mapped when it is dropped, for the next thread.
pub(crate) struct KernelStack {
    /// The lowest address of the span, in the guard page.
    base: u64,
}

impl KernelStack {
    /// Takes a used stack or maps a new one.
    pub(crate) fn new() -> Result<Self, NoMemory> {
        if let Some(base) = FREE_STACKS.lock().pop() {
            return Ok(Self { base });
        }
        if !super::frame::available(STACK_PAGES) {
            return Err(NoMemory);
        }
        let mut frames = ArrayVec::<Frame, STACK_PAGES>::new();
        while !frames.is_full() {
            frames.push(Frame::allocate_table().ok_or(NoMemory)?);
        }
        // Room to put it on the list when it is given back, which cannot fail then.
        let made = MADE_STACKS.fetch_add(1, Ordering::Relaxed) + 1;
        let mut free = FREE_STACKS.lock();
        let more = made.saturating_sub(free.len());
        if free.capacity() - free.len() < more && free.try_reserve(more).is_err() {
            MADE_STACKS.fetch_sub(1, Ordering::Relaxed);
            return Err(NoMemory);
        }
        drop(free);
        let base = take(&NEXT_STACK, STACK_SPAN, DEVICES)?;
        for (page, frame) in (1..).zip(frames) {
            let address = base + page * PAGE_SIZE as u64;
            // With a table missing, the pages mapped so far stay, like all stacks.
            paging::map_kernel_page(address, frame.into_physical(), bit::WRITE | bit::NO_EXECUTE)?;
        }
        Ok(Self { base })
    }

    /// One past the highest address.
    pub(crate) fn end(&self) -> u64 {
        self.base + STACK_SPAN
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        FREE_STACKS.lock().push(self.base);
    }
}

/// Whether `address` is in the guard page of a kernel stack.
pub(crate) fn is_guard_page(address: u64) -> bool {
    (KERNEL_MAPPINGS..NEXT_STACK.load(Ordering::Relaxed)).contains(&address)
        && (address - KERNEL_MAPPINGS) % STACK_SPAN < PAGE_SIZE as u64
}
