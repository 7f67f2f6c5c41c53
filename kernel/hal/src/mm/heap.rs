// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's heap: talc for all sizes, and a stock of small blocks for each CPU in front of it, which serves most
//! requests without a lock.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::{self, NonNull},
    sync::atomic::{AtomicUsize, Ordering},
};

use talc::{OomHandler, Span, Talc};

use super::{direct, frame};
use crate::{PAGE_SIZE, cpu::percpu, sync::SpinLock};

/// The heap grows by this many frames at a time (2^8: 1 MiB), or by what one request needs.
const GROW_ORDER: usize = 8;

/// Small blocks come in multiples of this many bytes ...
const STEP: usize = 64;
/// ... in so many sizes ...
const CLASSES: usize = 16;
/// ... of which a CPU keeps at most so many each.
const KEEP: usize = 64;

static HEAP_BYTES: AtomicUsize = AtomicUsize::new(0);

struct Grow;

impl OomHandler for Grow {
    fn handle_oom(talc: &mut Talc<Self>, layout: Layout) -> Result<(), ()> {
        // Talc's own bookkeeping needs some of the new memory as well.
        let needed = layout.size().checked_add(layout.align()).ok_or(())?.div_ceil(PAGE_SIZE) + 1;
        let order = (needed.next_power_of_two().ilog2() as usize).max(GROW_ORDER);
        let smallest = needed.next_power_of_two().ilog2() as usize;
        for order in (smallest..=order).rev() {
            let Some(first) = (order <= exo_logic::buddy::MAX_ORDER)
                .then(|| frame::allocate_kernel(order, percpu::node()))
                .flatten()
            else {
                continue;
            };
            let bytes = PAGE_SIZE << order;
            HEAP_BYTES.fetch_add(bytes, Ordering::Relaxed);
            let base = direct(u64::from(first) * PAGE_SIZE as u64);
            // SAFETY: frames fresh from the allocator, given to the heap for ever.
            unsafe { talc.claim(Span::from_base_size(base, bytes)) }?;
            return Ok(());
        }
        Err(())
    }
}

static TALC: SpinLock<Talc<Grow>> = SpinLock::new(Talc::new(Grow));

/// Bytes that the heap has taken from the frame allocator.
pub fn heap_bytes() -> usize {
    HEAP_BYTES.load(Ordering::Relaxed)
}

/// A CPU's stock: for each size a list through the first word of the free blocks.
pub(crate) struct Caches {
    heads: [*mut u8; CLASSES],
    counts: [usize; CLASSES],
}

impl Caches {
    pub(crate) const fn new() -> Self {
        Self { heads: [ptr::null_mut(); CLASSES], counts: [0; CLASSES] }
    }
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// The class of blocks that `layout` gets, and the layout that talc sees for it.
#[inline]
fn class_of(layout: Layout) -> Option<(usize, Layout)> {
    let size = layout.size();
    if size == 0 || size > STEP * CLASSES || layout.align() > 16 {
        return None;
    }
    let class = (size - 1) / STEP;
    // SAFETY: the size is at most 1024 and 16 is a power of two.
    Some((class, unsafe { Layout::from_size_align_unchecked((class + 1) * STEP, 16) }))
}

// SAFETY: blocks come from talc, which hands out memory that meets the layout; a block in a stock has one owner, the CPU,
// and is handed out only for layouts of the same class.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: this CPU's own area; interrupts are off, and nothing below allocates while it is borrowed.
        let area = unsafe { &mut *percpu::area() };
        area.allocations += 1;
        let Some((class, full)) = class_of(layout) else { return slow_alloc(layout) };
        let caches = area.caches.get_mut();
        let block = caches.heads[class];
        if block.is_null() {
            return slow_alloc(full);
        }
        // SAFETY: a free block's first word is the list's next.
        caches.heads[class] = unsafe { block.cast::<*mut u8>().read() };
        caches.counts[class] -= 1;
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((class, full)) = class_of(layout) else {
            // SAFETY: the caller vouches for block and layout.
            return unsafe { slow_dealloc(block, layout) };
        };
        // SAFETY: as in `alloc`.
        let caches = unsafe { (*percpu::area()).caches.get_mut() };
        if caches.counts[class] >= KEEP {
            // SAFETY: allocated with the class's full layout.
            return unsafe { slow_dealloc(block, full) };
        }
        // SAFETY: the block is free now and at least a word long.
        unsafe { block.cast::<*mut u8>().write(caches.heads[class]) };
        caches.heads[class] = block;
        caches.counts[class] += 1;
    }
}

#[cold]
fn slow_alloc(layout: Layout) -> *mut u8 {
    // SAFETY: the layout is not of size zero: GlobalAlloc's contract.
    unsafe { TALC.lock().malloc(layout).map_or(ptr::null_mut(), NonNull::as_ptr) }
}

/// # Safety
/// As for `GlobalAlloc::dealloc`, with the layout that talc saw.
#[cold]
unsafe fn slow_dealloc(block: *mut u8, layout: Layout) {
    if let Some(block) = NonNull::new(block) {
        // SAFETY: the caller vouches for it.
        unsafe { TALC.lock().free(block, layout) };
    }
}
