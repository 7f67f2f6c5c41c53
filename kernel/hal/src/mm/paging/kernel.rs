// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own part of the page tables, which all address spaces share.

use core::sync::atomic::{AtomicU64, Ordering};

use super::entry::{ENTRIES, KERNEL_HALF, bit, next_table, slot, write_root};
use crate::{
    DIRECT_MAP, KERNEL_BASE, KERNEL_MAPPINGS,
    boot::boot_info::{BootInfo, Region},
    mm::{NoMemory, direct_map::direct, frame::Frame, image::sections},
    sync::SpinLock,
};

const LARGE_SIZE: u64 = 2 << 20;
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);

fn entry_of(root: u64, address: u64, level: u32) -> Result<*mut u64, NoMemory> {
    let mut table = root;
    for above in (level + 1..=3).rev() {
        // SAFETY: tables reached from a root of ours.
        table = unsafe { next_table(slot(table, address, above), true, false) }.ok_or(NoMemory)?;
    }
    Ok(slot(table, address, level))
}

fn map_large(root: u64, address: u64, physical: u64, flags: u64) {
    let entry = entry_of(root, address, 1).expect("memory for the first page tables");
    // SAFETY: an entry of a table of ours that is not in use yet.
    unsafe { entry.write(physical | flags | bit::PRESENT | bit::LARGE | bit::GLOBAL) };
}

/// Builds the kernel's page tables and switches to them: direct map and image, every page either writable or executable.
pub(crate) fn init(boot: &BootInfo) {
    let root = Frame::allocate_table().expect("memory for the first page tables").into_physical();
    let sections = sections();
    // The direct map shows the read-only parts of the image too: read-only there as well.
    let read_only = |physical: u64| {
        sections.iter().any(|s| {
            !s.writable
                && physical + LARGE_SIZE > s.start - KERNEL_BASE
                && physical < (s.end - KERNEL_BASE).next_multiple_of(LARGE_SIZE)
        })
    };
    for region in boot.regions.iter().filter(|r| matches!(r.kind, Region::USABLE | 3 | 4)) {
        let mut physical = region.start & !(LARGE_SIZE - 1);
        while physical < region.start + region.size {
            let write = if read_only(physical) { 0 } else { bit::WRITE };
            map_large(root, DIRECT_MAP + physical, physical, write | bit::NO_EXECUTE);
            physical += LARGE_SIZE;
        }
    }
    for section in &sections {
        let mut address = section.start;
        while address < section.end {
            let flags = match (section.writable, section.executable) {
                (true, _) => bit::WRITE | bit::NO_EXECUTE,
                (false, true) => 0,
                (false, false) => bit::NO_EXECUTE,
            };
            map_large(root, address, address - KERNEL_BASE, flags);
            address += LARGE_SIZE;
        }
    }
    // Every root copies the upper half once: all its second-level tables must exist before the first copy.
    for address in [DIRECT_MAP, KERNEL_MAPPINGS, KERNEL_BASE] {
        entry_of(root, address, 2).expect("memory for the first page tables");
    }
    KERNEL_ROOT.store(root, Ordering::Release);
    load_root();
}

/// Switches this CPU to the tables that have no user part.
fn load_root() {
    // SAFETY: the kernel's own part is the same in every root.
    unsafe { write_root(KERNEL_ROOT.load(Ordering::Acquire)) };
}

/// Physical address of the root table without a user part.
pub(crate) fn root() -> u64 {
    KERNEL_ROOT.load(Ordering::Acquire)
}

/// The leaf entry that maps kernel address `address`, if any.
fn leaf(address: u64) -> Option<u64> {
    let mut table = KERNEL_ROOT.load(Ordering::Acquire);
    if table == 0 || address < KERNEL_HALF as u64 * (1 << 39) {
        return None;
    }
    for level in (0..=3).rev() {
        // SAFETY: tables reached from the kernel's root, which are never freed.
        let entry = unsafe { slot(table, address, level).read() };
        if entry & bit::PRESENT == 0 {
            return None;
        }
        if level == 0 || entry & bit::LARGE != 0 {
            return Some(entry);
        }
        table = entry & bit::ADDRESS;
    }
    None
}

/// Whether the kernel can read `address`, an address of its own half.
pub(crate) fn is_mapped(address: u64) -> bool {
    leaf(address).is_some()
}

/// The entry for a page of the kernel's own mappings, with the tables above it.
fn mapping_entry(address: u64) -> Result<*mut u64, NoMemory> {
    assert!(address >= KERNEL_MAPPINGS);
    // Two CPUs that need the same missing table must not both make one.
    static MAKING_TABLES: SpinLock<()> = SpinLock::new(());
    let _making = MAKING_TABLES.lock();
    entry_of(KERNEL_ROOT.load(Ordering::Acquire), address, 0)
}

/// Makes the page table for an address of the kernel's own mappings if it is missing. It stays.
pub(in crate::mm) fn make_table(address: u64) -> Result<(), NoMemory> {
    mapping_entry(address).map(drop)
}

/// Takes one page out of the kernel's own mappings: its frame, if there was one.
///
/// # Safety
/// Nobody uses the page any more, and the frame stays until all CPUs have forgotten the translation.
pub(in crate::mm) unsafe fn unmap_page(address: u64) -> Option<Frame> {
    let entry = mapping_entry(address).ok()?;
    // SAFETY: an entry of a table of ours, which its owner alone changes; its frame's reference was given up to it.
    unsafe {
        let value = entry.replace(0);
        (value & bit::PRESENT != 0).then(|| Frame::from_physical(value & bit::ADDRESS))
    }
}

/// Maps one page of the kernel's own mappings. `flags` must not allow both writing and execution.
pub(in crate::mm) fn map_page(address: u64, physical: u64, flags: u64) -> Result<(), NoMemory> {
    assert!(flags & bit::NO_EXECUTE != 0);
    let entry = mapping_entry(address)?;
    // SAFETY: an unused entry: `device_map` and `kernel_stack` hand out each address once.
    unsafe { entry.write(physical | flags | bit::PRESENT | bit::GLOBAL) };
    Ok(())
}

/// Checks every kernel mapping: how many leaf entries allow both writing and execution. For the boot log and tests.
pub fn count_writable_and_executable() -> usize {
    fn walk(table: u64, level: u32, first: usize) -> usize {
        let mut found = 0;
        for i in first..ENTRIES {
            // SAFETY: tables reached from the kernel's root, which are never freed.
            let entry = unsafe { direct(table).cast::<u64>().add(i).read() };
            if entry & bit::PRESENT == 0 {
                continue;
            }
            if level == 0 || entry & bit::LARGE != 0 {
                found += usize::from(entry & bit::WRITE != 0 && entry & bit::NO_EXECUTE == 0);
            } else {
                found += walk(entry & bit::ADDRESS, level - 1, 0);
            }
        }
        found
    }
    walk(KERNEL_ROOT.load(Ordering::Acquire), 3, KERNEL_HALF)
}
