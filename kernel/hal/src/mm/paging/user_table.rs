// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user half of an address space's page tables.

mod ranges;

use core::{
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use alloc::sync::Arc;

use super::{
    entry::{Access, ENTRIES, KERNEL_HALF, Marks, bit, next_table, slot},
    kernel,
    space::{Space, SpaceHandle},
};
use crate::{
    PAGE_SIZE, USER_END,
    mm::{
        NoMemory,
        direct_map::direct,
        frame::{Frame, counts},
        heap,
    },
    tlb,
};

/// A page as [`UserTable::get`] found it.
#[derive(Debug)]
pub struct Page {
    /// A reference to the frame.
    pub frame: Frame,
    /// Whether programs can write to it as it is mapped.
    pub writable: bool,
    /// Whether programs can reach it as it is mapped.
    pub present: bool,
    /// Whether the address space has the only reference to it, the one in `frame` aside.
    pub exclusive: bool,
}

/// The user half of an address space's page tables. A leaf entry that is not zero owns a reference to its frame, also
/// when it is not present (no access). Tables are charged to the program: they come from what programs may have, and one that
/// becomes empty is given back.
pub struct UserTable {
    space: Arc<Space>,
    pages: usize,
    tables: usize,
}

/// What a walk to the entry of an address found.
enum Walk {
    /// The table that has the leaf entry, and those above it, by level.
    Leaf([u64; 4]),
    /// There is no table at this level and below.
    Missing(u32),
}

/// The entry of a page in the tables: see [`UserTable::entry`]. Nobody else changes the tables meanwhile.
pub struct PageEntry<'a> {
    table: &'a mut UserTable,
    address: usize,
    leaf: Option<u64>,
}

impl<'a> PageEntry<'a> {
    /// The page there.
    #[inline]
    pub fn page(&self) -> Option<Page> {
        // SAFETY: a leaf entry of this table.
        unsafe { page_of(slot(self.leaf?, self.address as u64, 0)) }
    }

    /// As [`UserTable::set`].
    #[inline]
    pub fn set(&mut self, frame: Frame, access: Access) -> Result<(), NoMemory> {
        let leaf = match self.leaf {
            Some(leaf) => leaf,
            None => *self.leaf.insert(self.table.leaf_or_create(self.address)?),
        };
        self.table.set_in(leaf, self.address, frame, access);
        Ok(())
    }

    /// The tables, for changes elsewhere.
    #[inline]
    pub fn into_table(self) -> &'a mut UserTable {
        self.table
    }
}

/// The page that an entry names.
///
/// # Safety
/// `entry` is a leaf entry of a user table that nobody changes meanwhile.
#[inline]
unsafe fn page_of(entry: *mut u64) -> Option<Page> {
    // SAFETY: the caller vouches for the entry; a non-zero one owns a reference, from which another is made.
    unsafe {
        let value = entry.read();
        if value == 0 {
            return None;
        }
        let owned = core::mem::ManuallyDrop::new(Frame::from_physical(value & bit::ADDRESS));
        let exclusive = owned.is_only_but_pins();
        Some(Page {
            frame: Frame::clone(&owned),
            writable: value & bit::WRITE != 0,
            present: value & bit::PRESENT != 0,
            exclusive,
        })
    }
}

impl UserTable {
    /// An empty table.
    pub fn new() -> Result<Self, NoMemory> {
        let root = Frame::allocate_zeroed().ok_or(NoMemory)?.into_physical();
        let kernel = kernel::root();
        // SAFETY: two different root tables, copied from the first kernel entry on.
        unsafe {
            ptr::copy_nonoverlapping(
                direct(kernel).cast::<u64>().add(KERNEL_HALF),
                direct(root).cast::<u64>().add(KERNEL_HALF),
                ENTRIES - KERNEL_HALF,
            );
        }
        match heap::room_for_arc::<Space>() {
            Ok(()) => {
                // SAFETY: the root that was just made.
                let space = Arc::new(unsafe { Space::new(root) });
                Ok(Self { space, pages: 0, tables: 1 })
            }
            Err(error) => {
                // SAFETY: the root that was just made; it has no user part.
                drop(unsafe { Frame::from_physical(root) });
                Err(error)
            }
        }
    }

    /// Pages that have a frame.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Frames that the tables themselves take.
    pub fn tables(&self) -> usize {
        self.tables
    }

    /// What a CPU needs to load this table.
    pub fn handle(&self) -> SpaceHandle {
        SpaceHandle::new(self.space.clone())
    }

    #[inline]
    fn walk(&self, address: usize) -> Walk {
        if address >= USER_END {
            return Walk::Missing(3);
        }
        let mut tables = [0, 0, 0, self.space.root()];
        for level in [3usize, 2, 1] {
            // SAFETY: tables reached from this root, changed under the exclusive reference that every change takes.
            match unsafe { next_table(slot(tables[level], address as u64, level as u32), false, true) } {
                Some(next) => tables[level - 1] = next,
                None => return Walk::Missing(level as u32),
            }
        }
        Walk::Leaf(tables)
    }

    #[inline]
    fn leaf_entry(&self, address: usize) -> Option<*mut u64> {
        match self.walk(address) {
            Walk::Leaf(tables) => Some(slot(tables[0], address as u64, 0)),
            Walk::Missing(_) => None,
        }
    }

    /// The leaf table for `address`, made if need be.
    #[inline]
    fn leaf_or_create(&mut self, address: usize) -> Result<u64, NoMemory> {
        assert!(address < USER_END);
        let mut table = self.space.root();
        for level in [3, 2, 1] {
            let entry = slot(table, address as u64, level);
            // SAFETY: as in `walk`; a new table is complete before the entry names it.
            table = unsafe {
                match next_table(entry, false, true) {
                    Some(next) => next,
                    None => {
                        let new = Frame::allocate_zeroed().ok_or(NoMemory)?.into_physical();
                        entry.write(new | bit::PRESENT | bit::WRITE | bit::USER);
                        counts::add_table_entries(table, 1);
                        self.tables += 1;
                        new
                    }
                }
            };
        }
        Ok(table)
    }

    /// The page at `address`.
    pub fn get(&self, address: usize) -> Option<Page> {
        // SAFETY: a leaf entry of this table.
        unsafe { page_of(self.leaf_entry(address)?) }
    }

    /// The entry of the page at `address`, looked up once for several steps.
    #[inline]
    pub fn entry(&mut self, address: usize) -> PageEntry<'_> {
        let leaf = match self.walk(address) {
            Walk::Leaf(tables) => Some(tables[0]),
            Walk::Missing(_) => None,
        };
        PageEntry { table: self, address, leaf }
    }

    /// Puts `frame` at `address`. A frame that was there is let go of after the CPUs in question have forgotten it.
    pub fn set(&mut self, address: usize, frame: Frame, access: Access) -> Result<(), NoMemory> {
        let table = self.leaf_or_create(address)?;
        self.set_in(table, address, frame, access);
        Ok(())
    }

    /// The same, with the leaf table for `address`.
    #[inline]
    fn set_in(&mut self, table: u64, address: usize, frame: Frame, access: Access) {
        let entry = slot(table, address as u64, 0);
        // SAFETY: a leaf entry of this table, which owns the frame that it names.
        unsafe {
            let old = entry.read();
            entry.write(frame.into_physical() | access.bits());
            if old == 0 {
                counts::add_table_entries(table, 1);
                self.pages += 1;
                return;
            }
            self.flush(address, address + PAGE_SIZE);
            drop(Frame::from_physical(old & bit::ADDRESS));
        }
    }

    /// Changes what may be done with the page at `address`, if there is one. What is no longer allowed is so on all CPUs when this
    /// returns; what is allowed anew may fault once more.
    pub fn set_access(&mut self, address: usize, access: Access) {
        let Some(entry) = self.leaf_entry(address) else { return };
        // SAFETY: a leaf entry of this table; the frame stays.
        let (old, new) = unsafe {
            let old = entry.read();
            let new = if old == 0 { 0 } else { old & bit::KEPT | access.bits() };
            entry.write(new);
            (old, new)
        };
        let rights = bit::PRESENT | bit::WRITE;
        if old & rights & !new != 0 || new & !old & bit::NO_EXECUTE != 0 {
            self.flush(address, address + PAGE_SIZE);
        }
    }

    /// What the processors have noted of the page at `address` since this was asked last; with `write_protect`, programs cannot write to it
    /// any more when this returns, and what they have written until then is noted.
    pub fn take_marks(&mut self, address: usize, write_protect: bool) -> Marks {
        let Some(entry) = self.leaf_entry(address) else { return Marks::default() };
        let taken = bit::ACCESSED | bit::DIRTY | if write_protect { bit::WRITE } else { 0 };
        // SAFETY: a leaf entry of this table; the frame stays. The processor writes to it, too.
        let old = unsafe { AtomicU64::from_ptr(entry) }.fetch_and(!taken, Ordering::AcqRel);
        // A CPU that has a page cached as accessed notes nothing until it forgets that, which is soon enough.
        if old & taken & (bit::DIRTY | bit::WRITE) != 0 {
            self.flush(address, address + PAGE_SIZE);
        }
        Marks::of(old)
    }

    /// Makes the CPUs forget what they know about `start..end`.
    pub fn flush(&self, start: usize, end: usize) {
        tlb::shootdown(self.space.cpus_to_tell(), start, end);
    }
}
