// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical page frames: a buddy allocator for all CPUs, a small stock of single frames for each CPU in front of it, and
//! [`Frame`], a counted reference to one.
//!
//! A part of memory, the reserve, is given only to the kernel's own structures ([`allocate_kernel`]). Programs get
//! "no memory" before the kernel's heap does, so that it can go on and answer ENOMEM.

use core::{
    ptr, slice,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use exo_logic::{
    buddy::{Buddy, Link, MAX_ORDER},
    frame_count::FrameCount,
    slabs::Slab,
};

use super::{direct, heap};
use crate::{
    PAGE_SIZE,
    boot::{BootInfo, Region, spin_once::Once},
    cpu::percpu,
    dev::acpi::NodeMemory,
    hooks,
    sync::SpinLock,
};

/// Memory below this is not used: BIOS data, the trampoline of the other CPUs.
const LOW_END: u64 = 1 << 20;
/// What the boot page tables map.
const BOOT_MAPPED: u64 = 4 << 30;

static BUDDY: SpinLock<Option<Buddy<'static>>> = SpinLock::new(None);
static COUNTS: Once<&'static [FrameCount]> = Once::new();
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

/// Frames a CPU keeps for itself, and how many move at once to or from the common pool.
const STOCK: usize = 64;
const BATCH: usize = 32;

/// A CPU's own stock of single frames.
pub(crate) struct Magazine {
    frames: [u32; STOCK],
    count: usize,
}

impl Magazine {
    pub(crate) const fn new() -> Self {
        Self { frames: [0; STOCK], count: 0 }
    }
}

/// Usable memory between `low` and `high`, without the kernel, the initial RAM disk and the table at `table`.
fn usable(boot: &BootInfo, low: u64, high: u64, taken: &[(u64, u64)], mut each: impl FnMut(u64, u64)) {
    for region in boot.regions.iter().filter(|r| r.kind == Region::USABLE) {
        let end = (region.start + region.size).min(high) & !(PAGE_SIZE as u64 - 1);
        let mut start = region.start.max(low).next_multiple_of(PAGE_SIZE as u64);
        while start < end {
            // The first taken range that lies in what is left splits it.
            let next = taken.iter().filter(|t| t.1 > start && t.0 < end).min_by_key(|t| t.0);
            match next {
                Some(&(from, to)) => {
                    if from > start {
                        each(start, from);
                    }
                    start = to;
                }
                None => {
                    each(start, end);
                    start = end;
                }
            }
        }
    }
}

fn page_range(start: u64, size: u64) -> (u64, u64) {
    let mask = PAGE_SIZE as u64 - 1;
    (start & !mask, (start + size).next_multiple_of(PAGE_SIZE as u64))
}

fn taken(boot: &BootInfo, kernel_end: u64) -> [(u64, u64); 2] {
    let initrd = boot.initrd.as_ptr() as u64;
    let initrd = if boot.initrd.is_empty() { 0 } else { initrd - crate::DIRECT_MAP };
    [(LOW_END, kernel_end), page_range(initrd, boot.initrd.len() as u64)]
}

static KERNEL_END: AtomicUsize = AtomicUsize::new(0);
static TABLE: Once<(u64, u64)> = Once::new();

/// Sets up the allocator with the memory below 4 GiB.
pub(super) fn init(boot: &BootInfo, kernel_end: u64) {
    KERNEL_END.store(kernel_end as usize, Ordering::Relaxed);
    let memory_end =
        boot.regions.iter().filter(|r| r.kind == Region::USABLE).map(|r| r.start + r.size).max().unwrap_or(0);
    let frames = (memory_end / PAGE_SIZE as u64) as usize;
    let table_size = (frames * (size_of::<Link>() + size_of::<FrameCount>() + size_of::<Slab>()) + 64)
        .next_multiple_of(PAGE_SIZE) as u64;
    let taken = taken(boot, kernel_end);
    let mut table = 0;
    usable(boot, LOW_END, BOOT_MAPPED, &taken, |start, end| {
        if table == 0 && end - start >= table_size {
            table = start;
        }
    });
    assert!(table != 0, "no room for the table of {frames} page frames");
    TABLE.set((table, table + table_size));
    // SAFETY: usable memory that nothing else has, mapped by the boot tables and by the direct map later on; zero bytes
    // are valid for all three types, of which those with the larger alignment come first.
    let (links, counts, slabs) = unsafe {
        ptr::write_bytes(direct(table), 0, table_size as usize);
        let counts = direct(table).cast::<FrameCount>();
        let slabs = counts.add(frames).cast::<Slab>();
        let links = slabs.add(frames).cast::<Link>();
        (
            slice::from_raw_parts_mut(links, frames),
            slice::from_raw_parts(counts, frames),
            slice::from_raw_parts_mut(slabs, frames),
        )
    };
    heap::init(slabs);
    COUNTS.set(counts);
    *BUDDY.lock() = Some(Buddy::new(links));
    add(boot, LOW_END, BOOT_MAPPED);
}

fn add(boot: &BootInfo, low: u64, high: u64) {
    let [kernel, initrd] = taken(boot, KERNEL_END.load(Ordering::Relaxed) as u64);
    let taken = [kernel, initrd, *TABLE.get().expect("set in init")];
    let mut buddy = BUDDY.lock();
    let buddy = buddy.as_mut().expect("set in init");
    usable(boot, low, high, &taken, |start, end| {
        buddy.add((start / PAGE_SIZE as u64) as u32, (end / PAGE_SIZE as u64) as u32);
    });
    let free = buddy.free_frames();
    TOTAL.store(free, Ordering::Relaxed);
    // 1/16 of the memory, 2 to 16 MiB.
    RESERVE.store((free / 16).clamp(512, 4096), Ordering::Relaxed);
    note_free(free);
}

/// Adds what only the direct map reaches.
pub(super) fn add_high_memory(boot: &BootInfo) {
    add(boot, BOOT_MAPPED, u64::MAX);
}

/// Gives the frames of the initial RAM disk to the allocator: called once, by the end of the one [`Initrd`](crate::boot::Initrd). Its
/// last page may reach into memory that firmware keeps, which stays firmware's.
pub(crate) fn release_initrd(boot: &'static BootInfo) {
    let [_, (start, end)] = taken(boot, 0);
    let mut buddy = BUDDY.lock();
    if let Some(buddy) = buddy.as_mut() {
        usable(boot, start, end, &[], |start, end| {
            let frames = (start / PAGE_SIZE as u64) as u32..(end / PAGE_SIZE as u64) as u32;
            buddy.add(frames.start, frames.end);
            TOTAL.fetch_add(frames.len(), Ordering::Relaxed);
        });
        note_free(buddy.free_frames());
    }
}

/// Tells the allocator which memory is at which NUMA node, once ACPI's tables are read.
pub(crate) fn set_nodes(memory: &[NodeMemory]) {
    let frame = |address: u64| u32::try_from(address / PAGE_SIZE as u64).unwrap_or(u32::MAX);
    let ranges = memory.iter().map(|m| (frame(m.start), frame(m.start.saturating_add(m.size)), m.node));
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
pub(super) fn is_watched() -> bool {
    WATCHED.load(Ordering::Relaxed) != 0
}

/// From now on the kernel is asked at each allocation that may fail whether it does: a test of what comes of it.
pub fn let_allocations_fail() {
    WATCHED.fetch_or(FAILING, Ordering::Relaxed);
}

/// Whether an allocation that may fail has to because a test wants it.
#[inline]
pub(super) fn refuses() -> bool {
    is_watched() && is_nth()
}

#[cold]
fn is_nth() -> bool {
    WATCHED.load(Ordering::Relaxed) & FAILING != 0 && hooks::exo_refuses_allocation()
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
pub(super) fn is_half_of_reserve_left() -> bool {
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
pub(super) fn allocate_pages(pages: usize, order: usize) -> Option<u32> {
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
pub(super) fn free_pages(first: u32, pages: usize) {
    if let Some(buddy) = BUDDY.lock().as_mut() {
        buddy.add(first, first + pages as u32);
        note_free(buddy.free_frames());
    }
}

#[inline]
pub(super) fn take_single(reserve: bool) -> Option<u32> {
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
pub(super) fn give_single(frame: u32) {
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

#[inline]
fn count(frame: u32) -> &'static FrameCount {
    &COUNTS.get().expect("set at boot")[frame as usize]
}

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
        let frame = take_single(reserve)?;
        count(frame).begin();
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
        count(frame.0).begin();
        frame
    }

    #[inline]
    pub(crate) fn pointer(&self) -> *mut u8 {
        direct(self.physical())
    }

    /// Whether this is the only reference.
    #[inline]
    pub fn is_only(&self) -> bool {
        count(self.0).is_only()
    }

    /// Whether this is the only reference, those of pins aside.
    #[inline]
    pub(super) fn is_only_but_pins(&self) -> bool {
        count(self.0).is_only_but_pins()
    }

    /// Whether somebody has pinned it.
    #[inline]
    pub fn is_pinned(&self) -> bool {
        count(self.0).is_pinned()
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

    /// Zeroes from `offset` to the end.
    pub fn zero_from(&self, offset: usize) {
        let offset = offset.min(PAGE_SIZE);
        // SAFETY: as in `read`.
        unsafe { ptr::write_bytes(self.pointer().add(offset), 0, PAGE_SIZE - offset) };
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

/// Notes that `added` entries of the page table at `table` have come into use. A table has one owner, so its frame's count is free to
/// count them.
#[inline]
pub(super) fn add_table_entries(table: u64, added: u32) {
    count((table / PAGE_SIZE as u64) as u32).add_entries(added);
}

/// Notes that `removed` entries of the page table at `table` are empty now; how many are left in use.
#[inline]
pub(super) fn remove_table_entries(table: u64, removed: u32) -> u64 {
    count((table / PAGE_SIZE as u64) as u32).remove_entries(removed)
}

/// A reference by which a device may write to the frame for a long time. A fork leaves such a frame to the parent, which told the
/// device of it, and gives the child a copy.
#[derive(Debug)]
pub struct Pinned(Frame);

impl Pinned {
    /// Pins a frame; none if too many have.
    pub fn new(frame: Frame) -> Option<Self> {
        count(frame.0).pin().then_some(Self(frame))
    }

    /// The frame.
    pub fn frame(&self) -> &Frame {
        &self.0
    }

    /// Whether nothing but this pin keeps the frame: no program has it mapped any more.
    pub fn is_last(&self) -> bool {
        count(self.0.0).is_last_pin()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The frame's own reference goes after this.
        count(self.0.0).unpin();
    }
}

impl Clone for Frame {
    #[inline]
    fn clone(&self) -> Self {
        count(self.0).share();
        Self(self.0)
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        if count(self.0).release() {
            give_single(self.0);
        }
    }
}
