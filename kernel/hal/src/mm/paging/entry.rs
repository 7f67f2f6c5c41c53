// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries of page tables, and the steps of a walk. Source: Intel SDM volume 3, 4.5.

use core::{arch::asm, ops::BitOrAssign};

use crate::mm::{direct_map::direct, frame::Frame};

/// Bits of an entry.
pub(crate) mod bit {
    pub(crate) const PRESENT: u64 = 1;
    pub(crate) const WRITE: u64 = 1 << 1;
    pub(crate) const USER: u64 = 1 << 2;
    pub(crate) const WRITE_THROUGH: u64 = 1 << 3;
    pub(crate) const CACHE_DISABLE: u64 = 1 << 4;
    pub(crate) const ACCESSED: u64 = 1 << 5;
    pub(crate) const DIRTY: u64 = 1 << 6;
    pub(crate) const LARGE: u64 = 1 << 7;
    pub(crate) const GLOBAL: u64 = 1 << 8;
    pub(crate) const NO_EXECUTE: u64 = 1 << 63;
    pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    /// What stays when the rights change: the processor may note use of a page at any time.
    pub(crate) const KEPT: u64 = ADDRESS | ACCESSED | DIRTY;
}

/// Entries of a table.
pub(super) const ENTRIES: usize = 512;
/// The first entry of a root table that belongs to the kernel.
pub(super) const KERNEL_HALF: usize = 256;

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

/// What processors note of a page when programs use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It was read, written or executed.
    pub accessed: bool,
    /// It was written.
    pub dirty: bool,
}

impl Marks {
    #[inline]
    pub(super) fn of(entry: u64) -> Self {
        Self { accessed: entry & bit::ACCESSED != 0, dirty: entry & bit::DIRTY != 0 }
    }
}

impl BitOrAssign for Marks {
    fn bitor_assign(&mut self, other: Self) {
        self.accessed |= other.accessed;
        self.dirty |= other.dirty;
    }
}

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

/// # Safety
/// `root` is a complete root table that stays alive while it is loaded.
#[inline]
pub(super) unsafe fn write_root(root: u64) {
    // SAFETY: the caller vouches for the root; the kernel's part does not change.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}
