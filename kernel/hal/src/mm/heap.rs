// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's heap: blocks of up to 2 KiB from slabs of one page ([`exo_logic::slabs`]), larger ones as whole pages, and a stock of
//! blocks for each CPU in front, which serves most requests without a lock. A page without a block in use goes back to the frame
//! allocator.
//!
//! Rust's collections have no way to say that there is no memory but `try_reserve`, and `Arc` has none. [`try_arc`], [`try_box`] and
//! [`try_list`] first see to it that this CPU's stock has the block, so that the allocation inside cannot fail.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use exo_logic::slabs::{self, Block, STEP, Slab, Slabs};

use super::{
    NoMemory,
    direct_map::direct,
    frame::allocator as frames,
    magazines::{Stock, keep},
};
use crate::{PAGE_SIZE, cpu::percpu, hooks, sync::SpinLock};

static HEAP_FRAMES: AtomicUsize = AtomicUsize::new(0);
static SLABS: SpinLock<Option<Slabs<'static>>> = SpinLock::new(None);

/// Takes over the table of slabs, one entry for each frame.
pub(crate) fn init(table: &'static mut [Slab]) {
    *SLABS.lock() = Some(Slabs::new(table));
}

/// Bytes that the heap has from the frame allocator.
pub fn heap_bytes() -> usize {
    HEAP_FRAMES.load(Ordering::Relaxed) * PAGE_SIZE
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// The class of a small layout, as nearly all are: the paths for it are inlined.
#[inline]
fn small_class_of(layout: Layout) -> Option<usize> {
    if layout.align() > STEP { None } else { slabs::small_class_of(layout.size()) }
}

#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > STEP { None } else { slabs::class_of(layout.size()) }
}

/// This CPU's stock of a class.
#[inline]
fn stock(class: usize) -> *mut Stock {
    // SAFETY: this CPU's own area.
    unsafe { &raw mut (*(*percpu::area()).caches.get()).0[class] }
}

// SAFETY: a block has one owner at a time: the slabs' table, a CPU's stock, or who asked for it. Blocks of a class are as large as the
// layouts that the class is for, and aligned to 64; whole pages are aligned to at least their size, rounded up to a power of two.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: this CPU's own area; interrupts are off.
        unsafe { (*percpu::area()).allocations += 1 };
        let Some(class) = small_class_of(layout) else { return allocate_large(layout) };
        // SAFETY: this CPU's own stock.
        let block = unsafe { (*stock(class)).pop() };
        if block.is_null() { allocate_slow(class) } else { block }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = small_class_of(layout) else {
            // SAFETY: the caller vouches for block and layout.
            return unsafe { free_large(block, layout) };
        };
        // SAFETY: a block of this class, which is free now.
        unsafe { free_block(block, class) };
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

/// # Safety
/// `block` is a block of the class that nobody uses.
#[inline]
unsafe fn free_block(block: *mut u8, class: usize) {
    // SAFETY: this CPU's own stock; the caller vouches for the block.
    unsafe {
        if (*stock(class)).room == 0 {
            drain(class);
        }
        (*stock(class)).push(block);
    }
}

#[cold]
fn allocate_slow(class: usize) -> *mut u8 {
    refill(class);
    // SAFETY: as in `alloc`.
    unsafe { (*stock(class)).pop() }
}

/// Fills this CPU's stock of a class, which is empty, up to the half, or as far as memory goes. Whether it has a block then.
#[cold]
fn refill(class: usize) -> bool {
    // SAFETY: this CPU's own stock, which nothing below uses.
    let stock = unsafe { &mut *stock(class) };
    let mut slabs = SLABS.lock();
    let Some(slabs) = slabs.as_mut() else { return false };
    let half = keep(class) / 2;
    while stock.room > half {
        let Some(taken) = slabs.take(class, stock.room - half) else {
            // One page at a time: a rare class shall not take many.
            if !stock.head.is_null() {
                break;
            }
            let Some(frame) = frames::take_single(true) else { break };
            HEAP_FRAMES.fetch_add(1, Ordering::Relaxed);
            slabs.add(frame, class);
            continue;
        };
        for block in taken {
            // SAFETY: a block that the table has just given, one of as many as there is room for.
            unsafe { stock.push(address_of(block, class)) };
        }
    }
    !stock.head.is_null()
}

/// Gives half of this CPU's stock of a class back.
#[cold]
fn drain(class: usize) {
    // SAFETY: this CPU's own stock, which nothing below uses.
    let stock = unsafe { &mut *stock(class) };
    let mut slabs = SLABS.lock();
    let Some(slabs) = slabs.as_mut() else { return };
    while stock.room < keep(class).div_ceil(2) {
        let address = stock.pop();
        let index = address as usize % PAGE_SIZE / slabs::block_size(class);
        if let Some(frame) = slabs.give(Block { frame: frame_of(address), index }, class) {
            HEAP_FRAMES.fetch_sub(1, Ordering::Relaxed);
            frames::give_single(frame);
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
fn allocate_large(layout: Layout) -> *mut u8 {
    if let Some(class) = class_of(layout) {
        // SAFETY: as in `alloc`.
        let block = unsafe { (*stock(class)).pop() };
        return if block.is_null() { allocate_slow(class) } else { block };
    }
    let (pages, aligned) = pages_of(layout);
    let first = match aligned {
        1 => frames::take_single(true),
        _ => frames::allocate_pages(pages, aligned.ilog2() as usize),
    };
    let Some(first) = first else { return ptr::null_mut() };
    HEAP_FRAMES.fetch_add(pages, Ordering::Relaxed);
    direct(u64::from(first) * PAGE_SIZE as u64)
}

/// # Safety
/// As for `GlobalAlloc::dealloc`, for a layout that is not small.
#[cold]
unsafe fn free_large(block: *mut u8, layout: Layout) {
    if let Some(class) = class_of(layout) {
        // SAFETY: the caller gives a block of this class back.
        return unsafe { free_block(block, class) };
    }
    let (pages, aligned) = pages_of(layout);
    HEAP_FRAMES.fetch_sub(pages, Ordering::Relaxed);
    match aligned {
        1 => frames::give_single(frame_of(block)),
        _ => frames::free_pages(frame_of(block), pages),
    }
}

/// Refuses a block that may fail if a test wants it, or if others have all memory and half of the reserve too. Until then whoever has
/// most is ended first, and an innocent call goes on.
#[inline]
fn check_kept() -> Result<(), NoMemory> {
    if frames::is_watched() { check_watched() } else { Ok(()) }
}

#[cold]
fn check_watched() -> Result<(), NoMemory> {
    let is_refused = !frames::available(0) && is_short(frames::is_half_of_reserve_left());
    if is_refused || frames::refuses() { Err(NoMemory) } else { Ok(()) }
}

/// Memory is out: has somebody ended when the call is done. Whether the allocation is refused.
#[cold]
fn is_short(may_use_reserve: bool) -> bool {
    hooks::exo_out_of_memory();
    !may_use_reserve
}

/// Sees to it that the next allocation of this layout here finds a block, if nothing else is allocated before.
#[inline]
fn ensure(layout: Layout) -> Result<(), NoMemory> {
    match class_of(layout) {
        // SAFETY: this CPU's own stock.
        Some(class) if unsafe { (*stock(class)).head.is_null() } && !refill(class) => Err(NoMemory),
        Some(_) => Ok(()),
        None if layout.size() == 0 => Ok(()),
        // Another CPU may be faster. Nothing that is kept in an `Arc` or a `Box` is that large.
        None if frames::available(pages_of(layout).0) => Ok(()),
        None => Err(NoMemory),
    }
}

/// `Arc::new`, if there is memory for it.
#[inline]
pub fn try_arc<T>(value: T) -> Result<Arc<T>, NoMemory> {
    try_arc_with(|| value)
}

/// An `Arc` of what `make` makes once there is memory for it, in its place.
#[inline]
pub fn try_arc_with<T>(make: impl FnOnce() -> T) -> Result<Arc<T>, NoMemory> {
    room_for_arc::<T>()?;
    let arc = Arc::<T>::new_uninit();
    // SAFETY: nobody else has the new `Arc`, whose value is initialised here.
    unsafe {
        Arc::as_ptr(&arc).cast::<T>().cast_mut().write(make());
        Ok(arc.assume_init())
    }
}

/// Room for an `Arc<T>` that is made later without anything allocated in between: for `Arc::new_cyclic`.
#[inline]
pub fn room_for_arc<T>() -> Result<(), NoMemory> {
    check_kept()?;
    ensure(arc_layout::<T>())
}

/// Two counts and the value.
#[inline]
fn arc_layout<T>() -> Layout {
    let counts = Layout::new::<[usize; 2]>();
    counts.extend(Layout::new::<T>()).map_or(counts, |(layout, _)| layout.pad_to_align())
}

/// `Box::new`, if there is memory for it.
#[inline]
pub fn try_box<T>(value: T) -> Result<Box<T>, NoMemory> {
    check_kept()?;
    ensure(Layout::new::<T>())?;
    Ok(Box::new(value))
}

/// An empty list with room for `count` elements, for as long as a call lasts: less than a page may come from the reserve.
#[inline]
pub fn try_list<T>(count: usize) -> Result<Vec<T>, NoMemory> {
    let layout = Layout::array::<T>(count).map_err(|_| NoMemory)?;
    may_have(layout.size())?;
    if class_of(layout).is_some() {
        ensure(layout)?;
        return Ok(Vec::with_capacity(count));
    }
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| NoMemory)?;
    Ok(list)
}

/// Whether `bytes` bytes may be taken for what a program has chosen the size of. Asked before `try_reserve`. Less than a page may come
/// from the reserve: it is for what a call needs while it runs.
#[inline]
pub fn may_have(bytes: usize) -> Result<(), NoMemory> {
    let frames = bytes / PAGE_SIZE;
    if frames > 0 && !frames::available(frames) && is_short(false) || frames::refuses() {
        Err(NoMemory)
    } else {
        Ok(())
    }
}

/// The same for what outlives the call: never from the reserve.
#[inline]
pub fn may_keep(bytes: usize) -> Result<(), NoMemory> {
    if !frames::available(bytes / PAGE_SIZE) && is_short(false) || frames::refuses() {
        Err(NoMemory)
    } else {
        Ok(())
    }
}
