// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables: for each page its frame and what may be done with it. Each table takes a frame, as on the real machine, but there are no
//! caches of translations: a change is seen by all CPUs at once.

use std::{
    array,
    collections::{BTreeMap, btree_map::Entry},
    ops::BitOrAssign,
    sync::{Arc, LazyLock},
};

use parking_lot::Mutex;

pub use super::NoMemory;
use super::{contents::Contents, frame::Frame, heap};
use crate::{MAX_CPUS, PAGE_SIZE, USER_END, cpu::percpu};

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

    fn is_present(self) -> bool {
        self != Self::NONE
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

impl BitOrAssign for Marks {
    fn bitor_assign(&mut self, other: Self) {
        self.accessed |= other.accessed;
        self.dirty |= other.dirty;
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

/// A page in a table.
struct Mapped {
    frame: Frame,
    access: Access,
    marks: Marks,
}

/// A table of the lowest level.
struct Leaf {
    _frame: Frame,
    entries: BTreeMap<usize, Mapped>,
}

/// Bits of an address below those that choose a table of the lowest level, of the one above it, and so on.
const LEAF: u32 = 21;
const UPPER: [u32; 2] = [30, 39];

/// The tables below the root, by the addresses that they are for.
#[derive(Default)]
struct Tables {
    leaves: BTreeMap<usize, Leaf>,
    upper: BTreeMap<(u32, usize), Frame>,
}

impl Tables {
    fn entry(&self, address: usize) -> Option<&Mapped> {
        self.leaves.get(&(address >> LEAF))?.entries.get(&address)
    }

    fn entry_mut(&mut self, address: usize) -> Option<&mut Mapped> {
        self.leaves.get_mut(&(address >> LEAF))?.entries.get_mut(&address)
    }

    fn leaf_or_create(&mut self, address: usize) -> Result<&mut Leaf, NoMemory> {
        assert!(address < USER_END);
        match self.leaves.entry(address >> LEAF) {
            Entry::Occupied(leaf) => Ok(leaf.into_mut()),
            Entry::Vacant(leaf) => {
                for bits in UPPER.into_iter().rev() {
                    if let Entry::Vacant(entry) = self.upper.entry((bits, address >> bits)) {
                        entry.insert(Frame::allocate_zeroed().ok_or(NoMemory)?);
                    }
                }
                let frame = Frame::allocate_zeroed().ok_or(NoMemory)?;
                Ok(leaf.insert(Leaf { _frame: frame, entries: BTreeMap::new() }))
            }
        }
    }

    /// The addresses of the first pages of a range, and where the next piece starts.
    fn piece(&self, start: usize, end: usize) -> (Vec<usize>, usize) {
        let end = end.min(USER_END);
        if start >= end {
            return (Vec::new(), start);
        }
        let leaves = self.leaves.range(start >> LEAF..=(end - 1) >> LEAF);
        let mut pages = leaves.flat_map(|(_, leaf)| leaf.entries.range(start..end)).map(|(page, _)| *page);
        let found = pages.by_ref().take(PIECE).collect();
        (found, pages.next().unwrap_or(end))
    }

    /// Takes out the tables for `start..end` that are empty.
    fn remove_empty(&mut self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let leaves = self.leaves.range(start >> LEAF..=(end - 1) >> LEAF);
        let empty: Vec<usize> =
            leaves.filter(|(_, leaf)| leaf.entries.is_empty()).map(|(index, _)| *index).collect();
        for index in empty {
            self.leaves.remove(&index);
            for bits in UPPER {
                let table = index >> (bits - LEAF);
                let below = table << (bits - LEAF)..(table + 1) << (bits - LEAF);
                if self.leaves.range(below).next().is_none() {
                    self.upper.remove(&(bits, table));
                }
            }
        }
    }
}

/// The tables of one address space, freed with the last reference. A CPU that has them loaded has one.
pub(super) struct Space {
    _root: Frame,
    tables: Mutex<Tables>,
}

impl Space {
    /// Does `access` with the bytes of the page at `address`; false if the CPU would fault.
    pub(super) fn access(&self, address: usize, write: bool, access: &mut dyn FnMut(&Contents)) -> bool {
        let mut tables = self.tables.lock();
        let entry = tables.entry_mut(address & !(PAGE_SIZE - 1));
        let Some(entry) = entry.filter(|entry| entry.access.is_present() && (entry.access.write || !write))
        else {
            return false;
        };
        entry.marks |= Marks { accessed: true, dirty: write };
        access(entry.frame.contents());
        true
    }
}

/// What each CPU has loaded.
static LOADED: LazyLock<[Mutex<Option<Arc<Space>>>; MAX_CPUS]> =
    LazyLock::new(|| array::from_fn(|_| Mutex::new(None)));

/// What this CPU has loaded.
pub(super) fn loaded() -> Option<Arc<Space>> {
    LOADED[percpu::cpu_index()].lock().clone()
}

/// For tests: all CPUs let go of the tables that they have loaded.
pub fn unload() {
    LOADED.iter().for_each(|loaded| drop(loaded.lock().take()));
}

/// Loads an address space. Keeps its tables alive.
#[derive(Clone)]
pub struct SpaceHandle(Arc<Space>);

impl SpaceHandle {
    /// Loads the tables on this CPU.
    pub fn activate(&self) {
        let old = LOADED[percpu::cpu_index()].lock().replace(self.0.clone());
        drop(old);
    }
}

/// Pages of the kernel that are both writable and executable: it has none here.
pub fn count_writable_and_executable() -> usize {
    0
}

/// An idle CPU needs no shoot-downs of programs' pages.
pub fn enter_lazy_tlb() {}

/// The entry of a page in the tables: see [`UserTable::entry`].
pub struct PageEntry<'a> {
    table: &'a mut UserTable,
    address: usize,
}

impl<'a> PageEntry<'a> {
    /// The page there.
    pub fn page(&self) -> Option<Page> {
        self.table.get(self.address)
    }

    /// As [`UserTable::set`].
    pub fn set(&mut self, frame: Frame, access: Access) -> Result<(), NoMemory> {
        self.table.set(self.address, frame, access)
    }

    /// The tables, for changes elsewhere.
    pub fn into_table(self) -> &'a mut UserTable {
        self.table
    }
}

/// How much of a range is done at once.
const PIECE: usize = 128;

/// The page tables of an address space. An entry owns a reference to its frame, also when no access is allowed.
pub struct UserTable {
    space: Arc<Space>,
}

impl UserTable {
    /// An empty table.
    pub fn new() -> Result<Self, NoMemory> {
        let root = Frame::allocate_zeroed().ok_or(NoMemory)?;
        heap::may_keep(size_of::<Space>())?;
        Ok(Self { space: Arc::new(Space { _root: root, tables: Mutex::new(Tables::default()) }) })
    }

    /// Pages that have a frame.
    pub fn pages(&self) -> usize {
        self.space.tables.lock().leaves.values().map(|leaf| leaf.entries.len()).sum()
    }

    /// Frames that the tables themselves take.
    pub fn tables(&self) -> usize {
        let tables = self.space.tables.lock();
        1 + tables.leaves.len() + tables.upper.len()
    }

    /// What a CPU needs to load this table.
    pub fn handle(&self) -> SpaceHandle {
        SpaceHandle(self.space.clone())
    }

    /// The page at `address`.
    pub fn get(&self, address: usize) -> Option<Page> {
        let tables = self.space.tables.lock();
        let Mapped { frame, access, .. } = tables.entry(address)?;
        let exclusive = frame.is_only_but_pins();
        let (writable, present) = (access.write, access.is_present());
        Some(Page { frame: frame.clone(), writable, present, exclusive })
    }

    /// The entry of the page at `address`, looked up once for several steps.
    pub fn entry(&mut self, address: usize) -> PageEntry<'_> {
        PageEntry { table: self, address }
    }

    /// Puts `frame` at `address`. A frame that was there is let go of.
    pub fn set(&mut self, address: usize, frame: Frame, access: Access) -> Result<(), NoMemory> {
        let mapped = Mapped { frame, access, marks: Marks::default() };
        self.space.tables.lock().leaf_or_create(address)?.entries.insert(address, mapped);
        Ok(())
    }

    /// Changes what may be done with the page at `address`, if there is one.
    pub fn set_access(&mut self, address: usize, access: Access) {
        if let Some(entry) = self.space.tables.lock().entry_mut(address) {
            entry.access = access;
        }
    }

    /// Removes the pages of the first piece of `start..end`, and the tables that are empty by then. Where the next piece starts.
    pub fn unmap(&mut self, start: usize, end: usize) -> usize {
        let mut tables = self.space.tables.lock();
        let (pages, next) = tables.piece(start, end);
        for page in pages {
            if let Some(leaf) = tables.leaves.get_mut(&(page >> LEAF)) {
                leaf.entries.remove(&page);
            }
        }
        tables.remove_empty(start, next);
        next
    }

    /// What the processors have noted of the page at `address` since this was asked last; with `write_protect`, programs cannot write to it
    /// any more when this returns, and what they have written until then is noted.
    pub fn take_marks(&mut self, address: usize, write_protect: bool) -> Marks {
        let mut tables = self.space.tables.lock();
        let Some(entry) = tables.entry_mut(address) else { return Marks::default() };
        entry.access.write &= !write_protect;
        std::mem::take(&mut entry.marks)
    }

    /// Takes the right to write to the pages of the first piece of `start..end`, and calls `note` with each page's address and what processors
    /// had noted of it by then. Where the next piece starts.
    pub fn take_all_marks(&mut self, start: usize, end: usize, mut note: impl FnMut(usize, Marks)) -> usize {
        let mut tables = self.space.tables.lock();
        let (pages, next) = tables.piece(start, end);
        for page in pages {
            if let Some(entry) = tables.entry_mut(page) {
                entry.access.write = false;
                note(page, std::mem::take(&mut entry.marks));
            }
        }
        next
    }

    /// Changes what may be done with the pages in the first piece of `start..end`. Write access is taken away but never given: the
    /// first write faults, and the fault decides whether the page must be copied. Where the next piece starts.
    pub fn protect(&mut self, start: usize, end: usize, access: Access) -> usize {
        let mut tables = self.space.tables.lock();
        let (pages, next) = tables.piece(start, end);
        for page in pages {
            if let Some(entry) = tables.entry_mut(page) {
                entry.access = Access { write: access.write && entry.access.write, ..access };
            }
        }
        next
    }

    /// How many pages of the first piece of `start..end` there are, and where the next piece starts.
    pub fn count(&mut self, start: usize, end: usize) -> (usize, usize) {
        let (pages, next) = self.space.tables.lock().piece(start, end);
        (pages.len(), next)
    }

    /// Gives `child` the pages in the first piece of `start..end` too. With `copy_on_write`, both lose write access, but for pages that a
    /// device may write to: of those the child gets a copy. Where the next piece starts.
    pub fn share(
        &mut self,
        child: &mut UserTable,
        start: usize,
        end: usize,
        copy_on_write: bool,
    ) -> Result<usize, NoMemory> {
        let mut tables = self.space.tables.lock();
        let mut new = child.space.tables.lock();
        let (pages, next) = tables.piece(start, end);
        for page in pages {
            let leaf = new.leaf_or_create(page)?;
            let Some(entry) = tables.entry_mut(page) else { continue };
            let frame = if copy_on_write && entry.frame.is_pinned() {
                let (access, marks) = (entry.access, entry.marks);
                let copy = entry.frame.duplicate().ok_or(NoMemory)?;
                leaf.entries.insert(page, Mapped { frame: copy, access, marks });
                continue;
            } else {
                entry.frame.clone()
            };
            entry.access.write &= !copy_on_write;
            leaf.entries.insert(page, Mapped { frame, access: entry.access, marks: entry.marks });
        }
        Ok(next)
    }

    /// Moves the pages of the first piece of `from..from + length` to `to`; the ranges do not overlap. A page that is there already makes
    /// way. How many bytes the piece has. Tables that become empty stay, so that moving it back needs none; [`unmap`](Self::unmap) takes
    /// them out.
    ///
    /// # Errors
    /// There was no table to be had, and nothing has moved.
    pub fn relocate(&mut self, from: usize, to: usize, length: usize) -> Result<usize, NoMemory> {
        let (Some(end), Some(to_end)) = (from.checked_add(length), to.checked_add(length)) else {
            return Err(NoMemory);
        };
        if length == 0 || end > USER_END || to_end > USER_END || from < to_end && to < end {
            return Err(NoMemory);
        }
        let left = |address: usize| (((address >> LEAF) + 1) << LEAF) - address;
        let mut tables = self.space.tables.lock();
        if !tables.leaves.contains_key(&(from >> LEAF)) {
            return Ok(left(from).min(length));
        }
        // Within one table on both sides.
        let piece = left(from).min(left(to)).min(length).min(PIECE * PAGE_SIZE);
        tables.leaf_or_create(to)?;
        for offset in (0..piece).step_by(PAGE_SIZE) {
            let source = tables.leaves.get_mut(&(from >> LEAF));
            let entry = source.and_then(|leaf| leaf.entries.remove(&(from + offset)));
            if let (Some(entry), Some(target)) = (entry, tables.leaves.get_mut(&(to >> LEAF))) {
                target.entries.insert(to + offset, entry);
            }
        }
        Ok(piece)
    }

    /// Makes the CPUs forget what they know about `start..end`: there is nothing that they could know.
    pub fn flush(&self, _start: usize, _end: usize) {}
}
