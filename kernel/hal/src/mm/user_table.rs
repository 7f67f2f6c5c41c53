// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user half of an address space's page tables, and loading them on CPUs.

use core::ptr;

use alloc::sync::Arc;
use arrayvec::ArrayVec;
use exo_logic::translations::{LaidAside, Users};

use super::{
    direct,
    frame::Frame,
    paging::{Access, ENTRIES, KERNEL_HALF, NoMemory, bit, index, kernel_root, next_table, slot, write_root},
};
use crate::{MAX_CPUS, PAGE_SIZE, USER_END, cpu::percpu, tlb};

/// The tables of one address space and the CPUs that have them loaded. Freed with the last reference, which a CPU drops
/// only after it loaded others.
pub(crate) struct Space {
    root: u64,
    users: Users,
}

/// For each CPU, what it has missed of the tables that it has loaded and laid aside.
static LAID_ASIDE: [LaidAside; MAX_CPUS] = [const { LaidAside::new() }; MAX_CPUS];

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: no CPU has these tables loaded: each that does holds a reference.
        unsafe { free_tables(self.root, 3) };
    }
}

/// # Safety
/// Nothing uses the table at `table` any more; its leaf entries own their frames.
unsafe fn free_tables(table: u64, level: u32) {
    let end = if level == 3 { KERNEL_HALF } else { ENTRIES };
    // SAFETY: the caller vouches for the table; every non-zero leaf owns a frame, every upper entry a table.
    unsafe {
        for i in 0..end {
            let entry = direct(table).cast::<u64>().add(i).read();
            if entry == 0 {
                continue;
            }
            if level == 0 {
                drop(Frame::from_physical(entry & bit::ADDRESS));
            } else {
                free_tables(entry & bit::ADDRESS, level - 1);
            }
        }
        drop(Frame::from_physical(table));
    }
}

/// Loads an address space. Keeps its tables alive.
#[derive(Clone)]
pub struct SpaceHandle(Arc<Space>);

impl SpaceHandle {
    /// Loads the tables on this CPU, unless they are loaded.
    #[inline]
    pub fn activate(&self) {
        // SAFETY: this CPU's own area; interrupts are off.
        let loaded = unsafe { &mut *(*percpu::area()).space.get() };
        let cpu = percpu::cpu_index();
        if loaded.as_ref().is_some_and(|l| Arc::ptr_eq(l, &self.0)) {
            if self.0.users.take_up(cpu, &LAID_ASIDE[cpu]) {
                // SAFETY: the root that is loaded already; loading it again drops what is cached.
                unsafe { write_root(self.0.root) };
            }
            return;
        }
        self.0.users.load(cpu);
        // SAFETY: a complete root; the reference stored below keeps it alive.
        unsafe { write_root(self.0.root) };
        if let Some(old) = loaded.replace(self.0.clone()) {
            old.users.unload(cpu);
        }
    }
}

/// Lays this CPU's user tables aside: they stay loaded, but nobody needs to tell this CPU of changes until it takes them
/// up again. For a CPU that has nothing to do.
pub fn lay_aside() {
    // SAFETY: this CPU's own area; interrupts are off.
    let loaded = unsafe { &*(*percpu::area()).space.get() };
    if let Some(space) = loaded {
        let cpu = percpu::cpu_index();
        space.users.lay_aside(cpu, &LAID_ASIDE[cpu]);
    }
}

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

/// The leaf entry for user address `address` in the tables at `root`, which belong to a [`UserTable`] that the caller has.
#[inline]
fn leaf(root: u64, address: usize) -> Option<*mut u64> {
    if address >= USER_END {
        return None;
    }
    let mut table = root;
    for level in [3, 2, 1] {
        // SAFETY: tables reached from this root, changed under the exclusive reference that every change takes.
        table = unsafe { next_table(slot(table, address as u64, level), false, true) }?;
    }
    Some(slot(table, address as u64, 0))
}

/// The user half of an address space's page tables. A leaf entry that is not zero owns a reference to its frame, also
/// when it is not present (no access).
pub struct UserTable {
    space: Arc<Space>,
    pages: usize,
}

impl UserTable {
    /// An empty table.
    pub fn new() -> Result<Self, NoMemory> {
        let root = Frame::allocate_table().ok_or(NoMemory)?.into_physical();
        let kernel = kernel_root();
        // SAFETY: two different root tables, copied from the first kernel entry on.
        unsafe {
            ptr::copy_nonoverlapping(
                direct(kernel).cast::<u64>().add(KERNEL_HALF),
                direct(root).cast::<u64>().add(KERNEL_HALF),
                ENTRIES - KERNEL_HALF,
            );
        }
        Ok(Self { space: Arc::new(Space { root, users: Users::default() }), pages: 0 })
    }

    /// Pages that have a frame.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// What a CPU needs to load this table.
    pub fn handle(&self) -> SpaceHandle {
        SpaceHandle(self.space.clone())
    }

    #[inline]
    fn entry(&self, address: usize) -> Option<*mut u64> {
        leaf(self.space.root, address)
    }

    #[inline]
    fn entry_or_create(&mut self, address: usize) -> Result<*mut u64, NoMemory> {
        assert!(address < USER_END);
        let mut table = self.space.root;
        for level in [3, 2, 1] {
            // SAFETY: as in `entry`.
            table = unsafe { next_table(slot(table, address as u64, level), true, true) }.ok_or(NoMemory)?;
        }
        Ok(slot(table, address as u64, 0))
    }

    /// The page at `address`.
    pub fn get(&self, address: usize) -> Option<Page> {
        let entry = self.entry(address)?;
        // SAFETY: a leaf entry of this table; a non-zero one owns a reference, from which another is made.
        unsafe {
            let value = entry.read();
            if value == 0 {
                return None;
            }
            let owned = core::mem::ManuallyDrop::new(Frame::from_physical(value & bit::ADDRESS));
            let exclusive = owned.is_only();
            Some(Page {
                frame: Frame::clone(&owned),
                writable: value & bit::WRITE != 0,
                present: value & bit::PRESENT != 0,
                exclusive,
            })
        }
    }

    /// Puts `frame` at `address`. A frame that was there goes once no CPU sees it any more.
    pub fn set(&mut self, address: usize, frame: Frame, access: Access) -> Result<(), NoMemory> {
        let entry = self.entry_or_create(address)?;
        // SAFETY: a leaf entry of this table, which owns the frame that it names.
        let old = unsafe { entry.replace(frame.into_physical() | access.bits()) };
        if old == 0 {
            self.pages += 1;
        } else {
            self.flush(address, address + PAGE_SIZE);
            // SAFETY: the reference that the entry had; nobody has the frame through it any more.
            drop(unsafe { Frame::from_physical(old & bit::ADDRESS) });
        }
        Ok(())
    }

    /// Changes what may be done with the page at `address`, if there is one. What is no longer allowed is so on all CPUs when this
    /// returns; what is allowed anew may fault once more.
    pub fn set_access(&mut self, address: usize, access: Access) {
        let Some(entry) = self.entry(address) else { return };
        // SAFETY: a leaf entry of this table; the frame stays.
        let (old, new) = unsafe {
            let old = entry.read();
            let new = if old == 0 { 0 } else { old & bit::ADDRESS | access.bits() };
            entry.write(new);
            (old, new)
        };
        let rights = bit::PRESENT | bit::WRITE;
        if old & rights & !new != 0 || new & !old & bit::NO_EXECUTE != 0 {
            self.flush(address, address + PAGE_SIZE);
        }
    }

    /// Calls `each` with every leaf entry in `start..end` that has a frame.
    fn each_entry(&mut self, start: usize, end: usize, mut each: impl FnMut(&mut usize, usize, *mut u64)) {
        let end = end.min(USER_END);
        let mut address = start;
        'pages: while address < end {
            let mut table = self.space.root;
            for level in [3u32, 2, 1] {
                // SAFETY: as in `entry`.
                match unsafe { next_table(slot(table, address as u64, level), false, true) } {
                    Some(next) => table = next,
                    None => {
                        let span = 1usize << (12 + 9 * level);
                        address = (address | (span - 1)) + 1;
                        continue 'pages;
                    }
                }
            }
            loop {
                let entry = slot(table, address as u64, 0);
                // SAFETY: a leaf entry of this table.
                if unsafe { entry.read() } != 0 {
                    each(&mut self.pages, address, entry);
                }
                address += PAGE_SIZE;
                if address >= end || index(address as u64, 0) == 0 {
                    break;
                }
            }
        }
    }

    /// Removes all pages in `start..end`. Their frames are freed after the CPUs in question have forgotten them.
    pub fn unmap(&mut self, start: usize, end: usize) {
        let mut freed = ArrayVec::<Frame, 64>::new();
        // Asked after the entries have changed: a CPU that loads the tables meanwhile may have cached what goes away.
        let space = self.space.clone();
        let mut first = start;
        let mut after = start;
        self.each_entry(start, end, |pages, address, entry| {
            // SAFETY: a leaf entry of this table, whose reference passes to the list.
            freed.push(unsafe { Frame::from_physical(entry.replace(0) & bit::ADDRESS) });
            *pages -= 1;
            if freed.len() == 1 {
                first = address;
            }
            after = address + PAGE_SIZE;
            if freed.is_full() {
                tlb::shootdown(space.users.to_tell(), first, after);
                freed.clear();
            }
        });
        if !freed.is_empty() {
            tlb::shootdown(space.users.to_tell(), first, after);
        }
    }

    /// Changes what may be done with the pages in `start..end`. Write access is taken away but never given: the first write
    /// faults, and the fault decides whether the page must be copied.
    pub fn protect(&mut self, start: usize, end: usize, access: Access) {
        let mut changed = false;
        self.each_entry(start, end, |_, _, entry| {
            // SAFETY: a leaf entry of this table; the frame stays.
            unsafe {
                let old = entry.read();
                let mut new = old & bit::ADDRESS | access.bits();
                if old & bit::WRITE == 0 {
                    new &= !bit::WRITE;
                }
                changed |= new != old;
                entry.write(new);
            }
        });
        if changed {
            tlb::shootdown(self.space.users.to_tell(), start, end);
        }
    }

    /// Gives `child` the pages in `start..end` too. With `copy_on_write`, both lose write access, but for pages that a device may
    /// write to: of those the child gets a copy. Until the caller flushes, programs may write to what they have in common.
    pub fn share(
        &mut self,
        child: &mut UserTable,
        start: usize,
        end: usize,
        copy_on_write: bool,
    ) -> Result<(), NoMemory> {
        let mut result = Ok(());
        let mut table_of = usize::MAX;
        let mut child_table = ptr::null_mut::<u64>();
        self.each_entry(start, end, |_, address, entry| {
            if result.is_err() {
                return;
            }
            // One walk in the child for each 2 MiB.
            if address >> 21 != table_of {
                match child.entry_or_create(address & !((1 << 21) - 1)) {
                    Ok(first) => child_table = first,
                    Err(error) => {
                        result = Err(error);
                        return;
                    }
                }
                table_of = address >> 21;
            }
            // SAFETY: leaf entries of the two tables; the clone's reference passes to the child's entry, which is empty
            // since the child is new in this range.
            unsafe {
                let mut value = entry.read();
                let frame = core::mem::ManuallyDrop::new(Frame::from_physical(value & bit::ADDRESS));
                let is_own = copy_on_write && value & bit::WRITE != 0;
                if is_own && frame.is_pinned() {
                    let Some(copy) = frame.duplicate() else {
                        result = Err(NoMemory);
                        return;
                    };
                    value = value & !bit::ADDRESS | copy.into_physical();
                } else {
                    if is_own {
                        value &= !bit::WRITE;
                        entry.write(value);
                    }
                    core::mem::forget(Frame::clone(&frame));
                }
                child_table.add(index(address as u64, 0)).write(value);
            }
            child.pages += 1;
        });
        result
    }

    /// Moves the pages of `from..from + length` to `to`, all of them or none; the ranges do not overlap. Pages that are at the new
    /// place go.
    pub fn relocate(&mut self, from: usize, to: usize, length: usize) -> Result<(), NoMemory> {
        let (Some(end), Some(to_end)) = (from.checked_add(length), to.checked_add(length)) else {
            return Err(NoMemory);
        };
        if to_end > USER_END || from < to_end && to < end {
            return Err(NoMemory);
        }
        self.unmap(to, to_end);
        // Every table first, so that the moves cannot fail half-way.
        let mut result = Ok(());
        let mut pages = ArrayVec::<usize, 64>::new();
        let mut next = from;
        while next < end {
            pages.clear();
            self.each_entry(next, end, |_, address, _| {
                let _ = pages.try_push(address);
            });
            for &address in &pages {
                result = result.and(self.entry_or_create(address - from + to).map(drop));
            }
            next = if pages.is_full() { pages[pages.len() - 1] + PAGE_SIZE } else { end };
        }
        result?;
        let root = self.space.root;
        self.each_entry(from, end, |_, address, old| {
            if let Some(new) = leaf(root, address - from + to) {
                // SAFETY: leaf entries of this table; the reference moves from one to the other, which is empty.
                unsafe { new.write(old.replace(0)) };
            }
        });
        self.flush(from, end);
        Ok(())
    }

    /// Makes the CPUs forget what they know about `start..end`.
    pub fn flush(&self, start: usize, end: usize) {
        tlb::shootdown(self.space.users.to_tell(), start, end);
    }
}
