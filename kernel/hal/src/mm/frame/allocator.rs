// SPDX-License-Identifier: MIT OR Apache-2.0
//! A buddy allocator for all CPUs, and a small stock of single frames for each CPU in front of it.
//!
//! A part of memory, the reserve, is given only to the kernel's own structures ([`allocate_kernel`]). Programs get
//! "no memory" before the kernel's heap does, so that it can go on and answer ENOMEM.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use exo_logic::buddy::{Buddy, Link, MAX_ORDER};

use crate::{
    PAGE_SIZE,
    cpu::percpu,
    hooks,
    mm::magazines::{BATCH, Magazine, STOCK},
    sync::SpinLock,
};

static BUDDY: SpinLock<Option<Buddy<'static>>> = SpinLock::new(None);
static TOTAL: AtomicUsize = AtomicUsize::new(0);
/// Free frames in the buddy allocator, readable without its lock. Those in the CPUs' stocks count as used.
static FREE: AtomicUsize = AtomicUsize::new(0);
static RESERVE: AtomicUsize = AtomicUsize::new(0);
/// Why allocations that may fail have to look closer, so that they look at one byte while there is no reason.
static WATCHED: AtomicU8 = AtomicU8::new(0);
/// Free memory is down to the reserve.
const SHORT: u8 = 1;
/// A test has allocations fail.
const FAILING: u8 = 2;

/// Takes over the table of free blocks, an entry for each frame. There is no memory yet.
pub(super) fn init(links: &'static mut [Link]) {
    *BUDDY.lock() = Some(Buddy::new(links));
}

/// Adds the memory that `each` hands to what it gets: from one physical address to another, whole frames.
pub(super) fn add_ranges(each: impl FnOnce(&mut dyn FnMut(u64, u64))) {
    let mut buddy = BUDDY.lock();
    let buddy = buddy.as_mut().expect("set in init");
    each(&mut |start, end| {
        let frames = (start / PAGE_SIZE as u64) as u32..(end / PAGE_SIZE as u64) as u32;
        buddy.add(frames.start, frames.end);
        TOTAL.fetch_add(frames.len(), Ordering::Relaxed);
    });
    note_free(buddy.free_frames());
}

/// What is free now is all memory that there is. Sets the reserve to 1/16 of it, 2 to 16 MiB.
pub(super) fn set_total() {
    let buddy = BUDDY.lock();
    let free = buddy.as_ref().map_or(0, Buddy::free_frames);
    TOTAL.store(free, Ordering::Relaxed);
    RESERVE.store((free / 16).clamp(512, 4096), Ordering::Relaxed);
    note_free(free);
}

/// Tells the allocator which memory is at which NUMA node, once ACPI's tables are read: physical address, bytes, node.
pub(crate) fn set_nodes(memory: impl Iterator<Item = (u64, u64, u32)>) {
    let frame = |address: u64| u32::try_from(address / PAGE_SIZE as u64).unwrap_or(u32::MAX);
    let ranges = memory.map(|(start, size, node)| (frame(start), frame(start.saturating_add(size)), node));
    if let Some(buddy) = BUDDY.lock().as_mut() {
        buddy.set_nodes(ranges);
    }
}

/// The NUMA node that a frame, given by number, belongs to.
pub fn node_of(frame: u32) -> u32 {
    BUDDY.lock().as_ref().map_or(0, |buddy| buddy.node(frame) as u32)
}

/// Frames in all, and free ones.
pub fn totals() -> (usize, usize) {
    (TOTAL.load(Ordering::Relaxed), FREE.load(Ordering::Relaxed))
}

/// Free frames have become so many. Called with the allocator locked.
fn note_free(free: usize) {
    FREE.store(free, Ordering::Relaxed);
    let is_short = free <= RESERVE.load(Ordering::Relaxed);
    if is_short == (WATCHED.load(Ordering::Relaxed) & SHORT != 0) {
        return;
    }
    if is_short {
        WATCHED.fetch_or(SHORT, Ordering::Relaxed);
    } else {
        WATCHED.fetch_and(!SHORT, Ordering::Relaxed);
    }
}

/// Whether an allocation that may fail has to look closer.
#[inline]
pub(in crate::mm) fn is_watched() -> bool {
    WATCHED.load(Ordering::Relaxed) != 0
}

/// From now on the kernel is asked at each allocation that may fail whether it does: a test of what comes of it.
pub fn let_allocations_fail() {
    WATCHED.fetch_or(FAILING, Ordering::Relaxed);
}

/// Whether an allocation that may fail has to because a test wants it.
#[inline]
pub(in crate::mm) fn refuses() -> bool {
    is_watched() && is_nth()
}

#[cold]
fn is_nth() -> bool {
    WATCHED.load(Ordering::Relaxed) & FAILING != 0 && hooks::exo_refuses_allocation()
}

/// No frame was there for who asked: somebody is to be ended for it.
#[cold]
pub(in crate::mm) fn out_of_memory() {
    hooks::exo_out_of_memory();
}

/// So many frames, beyond which [`available`] is surely true again for the next page fault.
pub const SPARE: usize = 2 * BATCH;

/// How many frames programs may still have: what is free without the kernel's reserve.
pub fn free_for_programs() -> usize {
    FREE.load(Ordering::Relaxed).saturating_sub(RESERVE.load(Ordering::Relaxed))
}

/// Whether programs may have another `frames` frames.
#[inline]
pub fn available(frames: usize) -> bool {
    FREE.load(Ordering::Relaxed) > RESERVE.load(Ordering::Relaxed).saturating_add(frames)
}

/// Whether less than half of the reserve is used.
pub(in crate::mm) fn is_half_of_reserve_left() -> bool {
    FREE.load(Ordering::Relaxed) > RESERVE.load(Ordering::Relaxed) / 2
}

/// `2^order` frames in a row for the kernel, from the reserve if need be and from NUMA node `node` if it has them: the first
/// one's number.
pub(crate) fn allocate_kernel(order: usize, node: usize) -> Option<u32> {
    let mut buddy = BUDDY.lock();
    let buddy = buddy.as_mut()?;
    let frame = buddy.allocate(order, node);
    note_free(buddy.free_frames());
    frame
}

/// Gives back what [`allocate_kernel`] gave.
pub(crate) fn free_kernel(frame: u32, order: usize) {
    if let Some(buddy) = BUDDY.lock().as_mut() {
        buddy.free(frame, order);
        note_free(buddy.free_frames());
    }
}

/// Does `work` on this CPU, which must not sleep, with frames for programs taken from the reserve too, down to a quarter of it: for a
/// copy to or from a program's memory, which can neither wait for memory nor fail because others took it all.
pub fn with_reserve<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: this CPU's own flag; interrupts are off.
    let before = unsafe { (*percpu::area()).uses_reserve.replace(true) };
    let result = work();
    // SAFETY: as above.
    unsafe { (*percpu::area()).uses_reserve.set(before) };
    result
}

/// Whether what runs on this CPU may have a frame of the reserve.
#[cold]
fn may_use_reserve() -> bool {
    // SAFETY: this CPU's own flag.
    let allowed = unsafe { (*percpu::area()).uses_reserve.get() };
    allowed && FREE.load(Ordering::Relaxed) > RESERVE.load(Ordering::Relaxed) / 4 + BATCH
}

/// `pages` frames in a row for the kernel's heap, the first at a multiple of `2^order`, which is no fewer: its number.
pub(in crate::mm) fn allocate_pages(pages: usize, order: usize) -> Option<u32> {
    if order > MAX_ORDER {
        return None;
    }
    let mut buddy = BUDDY.lock();
    let buddy = buddy.as_mut()?;
    let first = buddy.allocate(order, percpu::node())?;
    buddy.add(first + pages as u32, first + (1 << order));
    note_free(buddy.free_frames());
    Some(first)
}

/// Gives back what [`allocate_pages`] gave.
pub(in crate::mm) fn free_pages(first: u32, pages: usize) {
    if let Some(buddy) = BUDDY.lock().as_mut() {
        buddy.add(first, first + pages as u32);
        note_free(buddy.free_frames());
    }
}

#[inline]
pub(in crate::mm) fn take_single(reserve: bool) -> Option<u32> {
    // SAFETY: this CPU's own stock; interrupts are off and `refill` does not come back here.
    let magazine = unsafe { &mut *(*percpu::area()).magazine.get() };
    if magazine.count == 0 {
        if !reserve && !available(BATCH) && !may_use_reserve() {
            return None;
        }
        refill(magazine);
    }
    magazine.count = magazine.count.checked_sub(1)?;
    Some(magazine.frames[magazine.count])
}

#[cold]
fn refill(magazine: &mut Magazine) {
    let node = percpu::node();
    let mut buddy = BUDDY.lock();
    let Some(buddy) = buddy.as_mut() else { return };
    while magazine.count < BATCH {
        let Some(frame) = buddy.allocate(0, node) else { break };
        magazine.frames[magazine.count] = frame;
        magazine.count += 1;
    }
    note_free(buddy.free_frames());
}

#[inline]
pub(in crate::mm) fn give_single(frame: u32) {
    // SAFETY: as in `take_single`.
    let magazine = unsafe { &mut *(*percpu::area()).magazine.get() };
    if magazine.count == STOCK {
        drain(magazine);
    }
    magazine.frames[magazine.count] = frame;
    magazine.count += 1;
}

#[cold]
fn drain(magazine: &mut Magazine) {
    let mut buddy = BUDDY.lock();
    let Some(buddy) = buddy.as_mut() else { return };
    while magazine.count > BATCH {
        magazine.count -= 1;
        buddy.free(magazine.frames[magazine.count], 0);
    }
    note_free(buddy.free_frames());
}
