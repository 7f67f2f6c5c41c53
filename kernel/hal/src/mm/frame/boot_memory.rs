// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which memory the frame allocator gets: what the boot loader says is usable, without what is in use.

use core::{
    ptr, slice,
    sync::atomic::{AtomicUsize, Ordering},
};

use exo_logic::{buddy::Link, frame_count::FrameCount, slabs::Slab};

use super::{allocator, counts};
use crate::{
    PAGE_SIZE,
    boot::boot_info::{BootInfo, Region},
    mm::direct_map::direct,
    once::Once,
};

/// Memory below this is not used: BIOS data, the trampoline of the other CPUs.
const LOW_END: u64 = 1 << 20;
/// What the boot page tables map.
const BOOT_MAPPED: u64 = 4 << 30;

/// Usable memory between `low` and `high`, without the kernel, the initial RAM disk which are in `taken`.
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

/// Sets up the allocator with the memory below 4 GiB. Gives the table of the heap's slabs, an entry for each frame.
pub(crate) fn init(boot: &BootInfo, kernel_end: u64) -> &'static mut [Slab] {
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
    counts::init(counts);
    allocator::init(links);
    add(boot, LOW_END, BOOT_MAPPED);
    slabs
}

fn add(boot: &BootInfo, low: u64, high: u64) {
    let [kernel, initrd] = taken(boot, KERNEL_END.load(Ordering::Relaxed) as u64);
    let taken = [kernel, initrd, *TABLE.get().expect("set in init")];
    allocator::add_ranges(|add| usable(boot, low, high, &taken, add));
    allocator::set_total();
}

/// Adds what only the direct map reaches.
pub(crate) fn add_high(boot: &BootInfo) {
    add(boot, BOOT_MAPPED, u64::MAX);
}

/// Gives the frames of the initial RAM disk to the allocator: called once, by the end of the one [`Initrd`](crate::boot::Initrd). Its
/// last page may reach into memory that firmware keeps, which stays firmware's.
pub(crate) fn release_initrd(boot: &'static BootInfo) {
    let [_, (start, end)] = taken(boot, 0);
    allocator::add_ranges(|add| usable(boot, start, end, &[], add));
}
