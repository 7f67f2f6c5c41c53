// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables: their entries, and the kernel's own part, which all address spaces share. See [`user_table`](super::user_table) for
//! the rest.

use core::{
    arch::asm,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{direct, frame::Frame, sections};
use crate::{
    DIRECT_MAP, KERNEL_BASE, KERNEL_MAPPINGS,
    boot::{BootInfo, Region},
    sync::SpinLock,
};

pub(crate) use super::user_table::Space;
pub use super::user_table::{Page, SpaceHandle, UserTable};

/// Bits of a page-table entry. Source: Intel SDM volume 3, 4.5.
pub(crate) mod bit {
    pub(crate) const PRESENT: u64 = 1;
    pub(crate) const WRITE: u64 = 1 << 1;
    pub(crate) const USER: u64 = 1 << 2;
    pub(crate) const WRITE_THROUGH: u64 = 1 << 3;
    pub(crate) const CACHE_DISABLE: u64 = 1 << 4;
    pub(crate) const LARGE: u64 = 1 << 7;
    pub(crate) const GLOBAL: u64 = 1 << 8;
    pub(crate) const NO_EXECUTE: u64 = 1 << 63;
    pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

pub(super) const ENTRIES: usize = 512;
const LARGE_SIZE: u64 = 2 << 20;
/// The first entry of a root table that belongs to the kernel.
pub(super) const KERNEL_HALF: usize = 256;

static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);

/// What a program may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Any access at all.
    pub read: bool,
    /// Writing.
    pub write: bool,
    /// Running code.
    pub execute: bool,
}

impl Access {
    /// No access; the page keeps its content.
    pub const NONE: Self = Self { read: false, write: false, execute: false };

    pub(super) fn bits(self) -> u64 {
        let mut bits = bit::USER;
        if self.read || self.write || self.execute {
            bits |= bit::PRESENT;
        }
        if self.write {
            bits |= bit::WRITE;
        }
        if !self.execute {
            bits |= bit::NO_EXECUTE;
        }
        bits
    }
}

/// Memory for page tables ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

#[inline]
pub(super) fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize % ENTRIES
}

/// The entry for `address` in the table at `table`.
#[inline]
pub(super) fn slot(table: u64, address: u64, level: u32) -> *mut u64 {
    direct(table).cast::<u64>().wrapping_add(index(address, level))
}

/// # Safety
/// `entry` points into a page table.
#[inline]
pub(super) unsafe fn next_table(entry: *mut u64, create: bool, user: bool) -> Option<u64> {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let value = entry.read();
        if value & bit::PRESENT != 0 {
            return Some(value & bit::ADDRESS);
        }
        if !create {
            return None;
        }
        let table = Frame::allocate_table()?.into_physical();
        entry.write(table | bit::PRESENT | bit::WRITE | if user { bit::USER } else { 0 });
        Some(table)
    }
}

fn kernel_entry(root: u64, address: u64, level: u32) -> Result<*mut u64, NoMemory> {
    let mut table = root;
    for above in (level + 1..=3).rev() {
        // SAFETY: tables reached from a root of ours.
        table = unsafe { next_table(slot(table, address, above), true, false) }.ok_or(NoMemory)?;
    }
    Ok(slot(table, address, level))
}

fn map_large(root: u64, address: u64, physical: u64, flags: u64) {
    let entry = kernel_entry(root, address, 1).expect("memory for the first page tables");
    // SAFETY: an entry of a table of ours that is not in use yet.
    unsafe { entry.write(physical | flags | bit::PRESENT | bit::LARGE | bit::GLOBAL) };
}

/// Builds the kernel's page tables and switches to them: direct map and image, every page either writable or executable.
pub(super) fn init(boot: &BootInfo) {
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
        kernel_entry(root, address, 2).expect("memory for the first page tables");
    }
    KERNEL_ROOT.store(root, Ordering::Release);
    load_kernel_root();
}

/// Switches this CPU to the tables that have no user part.
pub(crate) fn load_kernel_root() {
    // SAFETY: the kernel's own part is the same in every root.
    unsafe { write_root(KERNEL_ROOT.load(Ordering::Acquire)) };
}

/// Physical address of the root table without a user part.
pub(crate) fn kernel_root() -> u64 {
    KERNEL_ROOT.load(Ordering::Acquire)
}

/// # Safety
/// `root` is a complete root table that stays alive while it is loaded.
#[inline]
pub(super) unsafe fn write_root(root: u64) {
    // SAFETY: the caller vouches for the root; the kernel's part does not change.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

/// The leaf entry that maps kernel address `address`, if any.
fn kernel_leaf(address: u64) -> Option<u64> {
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
pub(crate) fn is_kernel_mapped(address: u64) -> bool {
    kernel_leaf(address).is_some()
}

/// The entry for a page of the kernel's own mappings, with the tables above it.
fn mapping_entry(address: u64) -> Result<*mut u64, NoMemory> {
    assert!(address >= KERNEL_MAPPINGS);
    // Two CPUs that need the same missing table must not both make one.
    static MAKING_TABLES: SpinLock<()> = SpinLock::new(());
    let _making = MAKING_TABLES.lock();
    kernel_entry(KERNEL_ROOT.load(Ordering::Acquire), address, 0)
}

/// Makes the page table for an address of the kernel's own mappings if it is missing. It stays.
pub(super) fn make_kernel_table(address: u64) -> Result<(), NoMemory> {
    mapping_entry(address).map(drop)
}

/// Takes one page out of the kernel's own mappings: its frame, if there was one.
///
/// # Safety
/// Nobody uses the page any more, and the frame stays until all CPUs have forgotten the translation.
pub(super) unsafe fn unmap_kernel_page(address: u64) -> Option<Frame> {
    let entry = mapping_entry(address).ok()?;
    // SAFETY: an entry of a table of ours, which its owner alone changes; its frame's reference was given up to it.
    unsafe {
        let value = entry.replace(0);
        (value & bit::PRESENT != 0).then(|| Frame::from_physical(value & bit::ADDRESS))
    }
}

/// Maps one page of the kernel's own mappings. `flags` must not allow both writing and execution.
pub(super) fn map_kernel_page(address: u64, physical: u64, flags: u64) -> Result<(), NoMemory> {
    assert!(flags & bit::NO_EXECUTE != 0);
    let entry = mapping_entry(address)?;
    // SAFETY: an unused entry: `kernel_map` hands out each address once.
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
