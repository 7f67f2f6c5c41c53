// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's heap: blocks of up to 2 KiB from slabs of one page ([`exo_logic::slabs`]), larger ones as whole pages, and a stock of
//! blocks for each CPU in front, which serves most requests without a lock. A page without a block in use goes back to the frame
//! allocator.
//!
//! Rust's collections have no way to say that there is no memory but `try_reserve`, and `Arc` has none. [`try_arc`] and [`try_box`] first
//! see to it that this CPU's stock has the block, so that the allocation inside cannot fail.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloc::{boxed::Box, sync::Arc};
use exo_logic::slabs::{self, Block, CLASSES, STEP, Slab, Slabs};

use super::{direct, frame, paging::NoMemory};
use crate::{PAGE_SIZE, cpu::percpu, hooks, sync::SpinLock};

/// Bytes of blocks of one class that a CPU keeps, within these numbers of blocks.
const KEEP_BYTES: usize = 16 << 10;
const KEEP_AT_LEAST: usize = 8;
const KEEP_AT_MOST: usize = 64;

static HEAP_FRAMES: AtomicUsize = AtomicUsize::new(0);
static SLABS: SpinLock<Option<Slabs<'static>>> = SpinLock::new(None);

/// Takes over the table of slabs, one entry for each frame.
pub(super) fn init(table: &'static mut [Slab]) {
    *SLABS.lock() = Some(Slabs::new(table));
}

/// Bytes that the heap has from the frame allocator.
pub fn heap_bytes() -> usize {
    HEAP_FRAMES.load(Ordering::Relaxed) * PAGE_SIZE
}

/// A CPU's stock: for each class a list through the first word of the free blocks.
pub(crate) struct Caches {
    heads: [*mut u8; CLASSES],
    counts: [usize; CLASSES],
}

impl Caches {
    pub(crate) const fn new() -> Self {
        Self { heads: [ptr::null_mut(); CLASSES], counts: [0; CLASSES] }
    }

    #[inline]
    fn pop(&mut self, class: usize) -> *mut u8 {
        let block = self.heads[class];
        if !block.is_null() {
            // SAFETY: a free block's first word is the list's next.
            self.heads[class] = unsafe { block.cast::<*mut u8>().read() };
            self.counts[class] -= 1;
        }
        block
    }

    /// # Safety
    /// `block` is a block of the class that nobody uses.
    #[inline]
    unsafe fn push(&mut self, class: usize, block: *mut u8) {
        // SAFETY: the caller gives the block, which is at least a word long.
        unsafe { block.cast::<*mut u8>().write(self.heads[class]) };
        self.heads[class] = block;
        self.counts[class] += 1;
    }
}

/// Blocks of a class that a CPU keeps.
const fn keep(class: usize) -> usize {
    let fit = KEEP_BYTES / slabs::block_size(class);
    if fit < KEEP_AT_LEAST {
        KEEP_AT_LEAST
    } else if fit > KEEP_AT_MOST {
        KEEP_AT_MOST
    } else {
        fit
    }
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > STEP { None } else { slabs::class_of(layout.size()) }
}

/// This CPU's stock.
#[inline]
fn caches() -> *mut Caches {
    // SAFETY: this CPU's own area.
    unsafe { (*percpu::area()).caches.get() }
}

// SAFETY: a block has one owner at a time: the slabs' table, a CPU's stock, or who asked for it. Blocks of a class are as large as the
// layouts that the class is for, and aligned to 64; whole pages are aligned to at least their size, rounded up to a power of two.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: this CPU's own area; interrupts are off, and nothing below allocates while the stock is borrowed.
        unsafe { (*percpu::area()).allocations += 1 };
        let Some(class) = class_of(layout) else { return allocate_pages(layout) };
        // SAFETY: as above.
        let block = unsafe { (*caches()).pop(class) };
        if block.is_null() { allocate_slow(class) } else { block }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller vouches for block and layout.
            return unsafe { free_pages(block, layout) };
        };
        // SAFETY: as in `alloc`; the block is of this class, and free now.
        unsafe {
            let caches = &mut *caches();
            caches.push(class, block);
            if caches.counts[class] > keep(class) {
                drain(caches, class);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that the size, rounded up to the alignment, does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let same = match (class_of(layout), class_of(new)) {
            (Some(old), Some(new)) => old == new,
            (None, None) => pages_of(layout) == pages_of(new),
            _ => false,
        };
        if same {
            return block;
        }
        // SAFETY: two different blocks, each as long as its layout says; the old one is given back with its own.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                ptr::copy_nonoverlapping(block, to, layout.size().min(size));
                self.dealloc(block, layout);
            }
            to
        }
    }
}

#[inline]
fn address_of(block: Block, class: usize) -> *mut u8 {
    direct(u64::from(block.frame) * PAGE_SIZE as u64).wrapping_add(block.index * slabs::block_size(class))
}

#[inline]
fn frame_of(address: *mut u8) -> u32 {
    ((address as u64 - crate::DIRECT_MAP) / PAGE_SIZE as u64) as u32
}

#[cold]
fn allocate_slow(class: usize) -> *mut u8 {
    refill(class);
    // SAFETY: as in `alloc`.
    unsafe { (*caches()).pop(class) }
}

/// Fills this CPU's stock of a class up to the half, or as far as memory goes.
fn refill(class: usize) {
    // SAFETY: as in `alloc`.
    let caches = unsafe { &mut *caches() };
    let mut slabs = SLABS.lock();
    let Some(slabs) = slabs.as_mut() else { return };
    while caches.counts[class] < keep(class) / 2 {
        let Some(block) = slabs.take(class) else {
            // One page at a time: a rare class shall not take many.
            if caches.counts[class] > 0 {
                return;
            }
            let Some(frame) = frame::take_single(true) else { return };
            HEAP_FRAMES.fetch_add(1, Ordering::Relaxed);
            slabs.add(frame, class);
            continue;
        };
        // SAFETY: a block that the table has just given.
        unsafe { caches.push(class, address_of(block, class)) };
    }
}

/// Gives half of the stock of a class back.
#[cold]
fn drain(caches: &mut Caches, class: usize) {
    let mut slabs = SLABS.lock();
    let Some(slabs) = slabs.as_mut() else { return };
    while caches.counts[class] > keep(class) / 2 {
        let address = caches.pop(class);
        let index = address as usize % PAGE_SIZE / slabs::block_size(class);
        if let Some(frame) = slabs.give(Block { frame: frame_of(address), index }, class) {
            HEAP_FRAMES.fetch_sub(1, Ordering::Relaxed);
            frame::give_single(frame);
        }
    }
}

/// Whole pages that a layout gets, and the power of two that they begin at a multiple of.
fn pages_of(layout: Layout) -> (usize, usize) {
    let pages = layout.size().div_ceil(PAGE_SIZE).max(1);
    let aligned = pages.max(layout.align() / PAGE_SIZE).checked_next_power_of_two().unwrap_or(usize::MAX);
    (pages, aligned)
}

#[cold]
fn allocate_pages(layout: Layout) -> *mut u8 {
    let (pages, aligned) = pages_of(layout);
    let first = match aligned {
        1 => frame::take_single(true),
        _ => frame::allocate_pages(pages, aligned.ilog2() as usize),
    };
    let Some(first) = first else { return ptr::null_mut() };
    HEAP_FRAMES.fetch_add(pages, Ordering::Relaxed);
    direct(u64::from(first) * PAGE_SIZE as u64)
}

/// # Safety
/// As for `GlobalAlloc::dealloc`, for a layout that gets whole pages.
#[cold]
unsafe fn free_pages(block: *mut u8, layout: Layout) {
    let (pages, aligned) = pages_of(layout);
    HEAP_FRAMES.fetch_sub(pages, Ordering::Relaxed);
    match aligned {
        1 => frame::give_single(frame_of(block)),
        _ => frame::free_pages(frame_of(block), pages),
    }
}

/// Whether a block that may fail has to: a test wants it, or others have all memory and half of the reserve too. Until then whoever has
/// most is ended first, and an innocent call goes on.
#[inline]
fn is_refused() -> bool {
    !frame::available(0) && is_short(frame::is_half_of_reserve_left()) || hooks::refuses_allocation()
}

/// Memory is out: has somebody ended when the call is done. Whether the allocation is refused.
#[cold]
fn is_short(may_use_reserve: bool) -> bool {
    hooks::exo_out_of_memory();
    !may_use_reserve
}

/// Sees to it that the next allocation of this layout here finds a block, if nothing else is allocated before.
fn guarantee(layout: Layout) -> Result<(), NoMemory> {
    if is_refused() {
        return Err(NoMemory);
    }
    if let Some(class) = class_of(layout) {
        // SAFETY: as in `alloc`.
        if unsafe { (*caches()).counts[class] } == 0 {
            refill(class);
        }
        // SAFETY: as above.
        return if unsafe { (*caches()).counts[class] } > 0 { Ok(()) } else { Err(NoMemory) };
    }
    // Another CPU may be faster. Nothing that is kept in an `Arc` or a `Box` is that large.
    let (pages, _) = pages_of(layout);
    if frame::available(pages) { Ok(()) } else { Err(NoMemory) }
}

/// `Arc::new`, if there is memory for it.
pub fn try_arc<T>(value: T) -> Result<Arc<T>, NoMemory> {
    guarantee(arc_layout::<T>())?;
    Ok(Arc::new(value))
}

/// Room for an `Arc<T>` that is made later without anything allocated in between: for `Arc::new_cyclic`.
pub fn room_for_arc<T>() -> Result<(), NoMemory> {
    guarantee(arc_layout::<T>())
}

/// Two counts and the value.
fn arc_layout<T>() -> Layout {
    let counts = Layout::new::<[usize; 2]>();
    counts.extend(Layout::new::<T>()).map_or(counts, |(layout, _)| layout.pad_to_align())
}

/// `Box::new`, if there is memory for it.
pub fn try_box<T>(value: T) -> Result<Box<T>, NoMemory> {
    guarantee(Layout::new::<T>())?;
    Ok(Box::new(value))
}

/// Whether `bytes` bytes may be taken for what a program has chosen the size of. Asked before `try_reserve`. Less than a page may come
/// from the reserve: it is for what a call needs while it runs.
pub fn may_have(bytes: usize) -> Result<(), NoMemory> {
    let frames = bytes / PAGE_SIZE;
    let is_refused = frames > 0 && !frame::available(frames) && is_short(false);
    if is_refused || hooks::refuses_allocation() { Err(NoMemory) } else { Ok(()) }
}

/// The same for what outlives the call: never from the reserve.
pub fn may_keep(bytes: usize) -> Result<(), NoMemory> {
    let is_refused = !frame::available(bytes / PAGE_SIZE) && is_short(false);
    if is_refused || hooks::refuses_allocation() { Err(NoMemory) } else { Ok(()) }
}
