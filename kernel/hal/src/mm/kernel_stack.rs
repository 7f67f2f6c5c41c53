// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel stacks, with a guard page below each.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::{
    NoMemory,
    device_map::{DEVICES, take},
    frame::{Frame, allocator},
    paging::{entry::bit, kernel},
};
use crate::{KERNEL_MAPPINGS, PAGE_SIZE, sync::SpinLock, tlb};

/// Pages of a kernel stack.
const STACK_PAGES: usize = 7;
/// Address space of a kernel stack: the guard page is the lowest.
const STACK_SPAN: u64 = 8 * PAGE_SIZE as u64;
static NEXT_STACK: AtomicU64 = AtomicU64::new(KERNEL_MAPPINGS);

/// Free stacks that keep their memory for the next threads.
const KEPT_STACKS: usize = 48;
/// So many more give theirs back together, as each time all CPUs have to forget the translations. It happens in a switch, so they are few.
const RELEASED_TOGETHER: usize = 8;

/// The stacks that no thread has: first those without memory, of which only the addresses are left, then those with.
struct FreeStacks {
    bases: Vec<u64>,
    bare: usize,
    /// Stacks that exist, free or not.
    made: usize,
}

static FREE_STACKS: SpinLock<FreeStacks> = SpinLock::new(FreeStacks { bases: Vec::new(), bare: 0, made: 0 });

impl FreeStacks {
    /// How many have memory.
    fn with_memory(&self) -> usize {
        self.bases.len() - self.bare
    }

    /// Takes out one that has memory.
    fn take_with_memory(&mut self) -> Option<u64> {
        if self.with_memory() > 0 { self.bases.pop() } else { None }
    }

    /// Takes out one without memory, or makes one. There is room to put it on the list when it is given back, which cannot fail then.
    fn take_bare(&mut self) -> Result<u64, NoMemory> {
        if self.bare > 0 {
            self.bare -= 1;
            return Ok(self.bases.swap_remove(self.bare));
        }
        let made = self.made + 1;
        if self.bases.capacity() < made {
            let more = made - self.bases.len();
            self.bases.try_reserve(more).map_err(|_| NoMemory)?;
        }
        let base = take(&NEXT_STACK, STACK_SPAN, DEVICES)?;
        self.made = made;
        Ok(base)
    }

    fn add_bare(&mut self, base: u64) {
        self.bases.push(base);
        let last = self.bases.len() - 1;
        self.bases.swap(self.bare, last);
        self.bare += 1;
    }
}

/// A kernel stack. Its memory stays mapped when it is dropped, for the next thread, unless there are enough of them.
pub(crate) struct KernelStack {
    /// The lowest address of the span, in the guard page.
    base: u64,
}

impl KernelStack {
    /// Takes a used stack or maps a new one.
    pub(crate) fn new() -> Result<Self, NoMemory> {
        let used = FREE_STACKS.lock().take_with_memory();
        if let Some(base) = used {
            return Ok(Self { base });
        }
        if !allocator::available(STACK_PAGES) {
            allocator::out_of_memory();
            return Err(NoMemory);
        }
        let mut frames = ArrayVec::<Frame, STACK_PAGES>::new();
        while !frames.is_full() {
            frames.push(Frame::allocate_table().ok_or(NoMemory)?);
        }
        let base = FREE_STACKS.lock().take_bare()?;
        // All pages of a stack are in one table: if that is missing, none is mapped.
        if let Err(error) = kernel::make_table(base) {
            FREE_STACKS.lock().add_bare(base);
            return Err(error);
        }
        for (address, page) in pages_of(base).zip(frames) {
            kernel::map_page(address, page.into_physical(), bit::WRITE | bit::NO_EXECUTE)?;
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
        let mut free = FREE_STACKS.lock();
        free.bases.push(self.base);
        let are_many = free.with_memory() >= KEPT_STACKS + RELEASED_TOGETHER;
        drop(free);
        if are_many {
            release(KEPT_STACKS);
        }
    }
}

/// The addresses of a stack's pages, above the guard page.
fn pages_of(base: u64) -> impl Iterator<Item = u64> {
    (1..=STACK_PAGES as u64).map(move |page| base + page * PAGE_SIZE as u64)
}

/// Takes the memory from free stacks until `kept` are left that have some. How many frames that gave.
pub(crate) fn release(kept: usize) -> usize {
    let mut frames = 0;
    loop {
        let mut bases = ArrayVec::<u64, RELEASED_TOGETHER>::new();
        {
            let mut free = FREE_STACKS.lock();
            while !bases.is_full() && free.with_memory() > kept {
                bases.extend(free.take_with_memory());
            }
        }
        if bases.is_empty() {
            return frames;
        }
        let mut taken = ArrayVec::<Frame, { RELEASED_TOGETHER * STACK_PAGES }>::new();
        for address in bases.iter().copied().flat_map(pages_of) {
            // SAFETY: nobody has these stacks now. The frames stay until no CPU has a translation for them.
            taken.extend(unsafe { kernel::unmap_page(address) });
        }
        tlb::shootdown_kernel();
        frames += taken.len();
        drop(taken);
        let mut free = FREE_STACKS.lock();
        for base in bases {
            free.add_bare(base);
        }
    }
}

/// Whether `address` is in the guard page of a kernel stack.
pub(crate) fn is_guard_page(address: u64) -> bool {
    (KERNEL_MAPPINGS..NEXT_STACK.load(Ordering::Relaxed)).contains(&address)
        && (address - KERNEL_MAPPINGS) % STACK_SPAN < PAGE_SIZE as u64
}
