// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done to the pages of a range: in pieces, so that whoever has the table locked can let others in between two of them.

use core::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;

use super::{UserTable, Walk};
use crate::{
    PAGE_SIZE, USER_END,
    mm::{
        NoMemory,
        frame::{Frame, counts},
        paging::{
            entry::{Access, Marks, bit, slot},
            space::Space,
        },
    },
    tlb,
};

/// Frames that are freed once no CPU can reach them any more.
struct Batch {
    frames: ArrayVec<Frame, 64>,
    first: usize,
    after: usize,
}

impl Batch {
    fn new() -> Self {
        Self { frames: ArrayVec::new(), first: 0, after: 0 }
    }

    /// Takes a frame that the entry for `address` named, or a table on the way there.
    fn add(&mut self, space: &Space, address: usize, frame: Frame) {
        if self.frames.is_empty() {
            self.first = address;
        }
        self.first = self.first.min(address);
        self.after = self.after.max(address + PAGE_SIZE);
        self.frames.push(frame);
        if self.frames.is_full() {
            self.free(space);
        }
    }

    fn free(&mut self, space: &Space) {
        if !self.frames.is_empty() {
            // Asked after the entries have changed: a CPU that loads the tables meanwhile may have cached what goes away.
            tlb::shootdown(space.cpus_to_tell(), self.first, self.after);
            self.frames.clear();
            self.after = 0;
        }
    }
}

/// How much of a range is done at once: so many pages, or eight times as many entries that are looked at.
const PIECE: usize = 128;

/// The end of what the leaf table for `address` covers.
fn leaf_end(address: usize) -> usize {
    (address | ((1 << 21) - 1)) + 1
}

impl UserTable {
    /// Notes that `removed` entries of the leaf table of `tables` have become empty, and takes out the tables that are empty now.
    fn remove_entries(&mut self, tables: [u64; 4], address: usize, removed: u32, batch: &mut Batch) {
        let mut left = counts::remove_table_entries(tables[0], removed);
        for level in 0..3 {
            if left > 0 {
                return;
            }
            // SAFETY: the entry that names this table, which nothing but the CPUs' caches leads to from here on; the batch keeps
            // it until they have forgotten it.
            unsafe {
                slot(tables[level + 1], address as u64, level as u32 + 1).write(0);
                batch.add(&self.space, address & !(PAGE_SIZE - 1), Frame::from_table(tables[level]));
            }
            self.tables -= 1;
            left = if level < 2 { counts::remove_table_entries(tables[level + 1], 1) } else { 1 };
        }
    }

    /// Calls `each` with every leaf entry that has a frame in the first piece of `start..end`, and then `after` with the tables that
    /// led there, an address in them and the number of entries that `each` said have become empty. Where the next piece starts: `end`
    /// if there is none.
    fn each_entry<S>(
        &mut self,
        start: usize,
        end: usize,
        state: &mut S,
        mut each: impl FnMut(&mut Self, &mut S, usize, *mut u64) -> bool,
        mut after: impl FnMut(&mut Self, &mut S, [u64; 4], usize, u32),
    ) -> usize {
        let end = end.min(USER_END);
        let mut address = start;
        let mut work = 0;
        while address < end && work < PIECE {
            let tables = match self.walk(address) {
                Walk::Leaf(tables) => tables,
                Walk::Missing(level) => {
                    let span = 1usize << (12 + 9 * level);
                    address = (address | (span - 1)) + 1;
                    work += 1;
                    continue;
                }
            };
            let stop = leaf_end(address).min(end).min(address + PIECE * PAGE_SIZE);
            let first = address;
            let mut emptied = 0;
            while address < stop {
                let entry = slot(tables[0], address as u64, 0);
                // SAFETY: a leaf entry of this table.
                if unsafe { entry.read() } != 0 {
                    emptied += u32::from(each(self, state, address, entry));
                    work += 1;
                }
                address += PAGE_SIZE;
            }
            work += (address - first) / PAGE_SIZE / 8;
            after(self, state, tables, first, emptied);
        }
        // A range of addresses that no user has is done at once.
        if address >= end { end.max(start) } else { address }
    }

    /// Removes the pages of the first piece of `start..end`. Their frames, and the tables that are empty by then, are freed after the
    /// CPUs in question have forgotten them. Where the next piece starts.
    pub fn unmap(&mut self, start: usize, end: usize) -> usize {
        let space = self.space.clone();
        let mut batch = Batch::new();
        let next = self.each_entry(
            start,
            end,
            &mut batch,
            |this, batch, address, entry| {
                // SAFETY: a leaf entry of this table, whose reference passes to the batch.
                let frame = unsafe { Frame::from_physical(entry.replace(0) & bit::ADDRESS) };
                this.pages -= 1;
                batch.add(&this.space, address, frame);
                true
            },
            |this, batch, tables, address, emptied| this.remove_entries(tables, address, emptied, batch),
        );
        batch.free(&space);
        next
    }

    /// Changes what may be done with the pages in the first piece of `start..end`. Write access is taken away but never given: the
    /// first write faults, and the fault decides whether the page must be copied. Where the next piece starts.
    pub fn protect(&mut self, start: usize, end: usize, access: Access) -> usize {
        let mut changed = false;
        let next = self.each_entry(
            start,
            end,
            &mut changed,
            |_, changed, _, entry| {
                let changed_entry = |old: u64| {
                    let given = if old & bit::WRITE == 0 { bit::WRITE } else { 0 };
                    old & bit::KEPT | access.bits() & !given
                };
                // SAFETY: a leaf entry of this table; the frame stays. The processor writes to it, too, and what it notes is kept.
                let entry = unsafe { AtomicU64::from_ptr(entry) };
                let update = |old| Some(changed_entry(old));
                let (Ok(old) | Err(old)) = entry.fetch_update(Ordering::AcqRel, Ordering::Relaxed, update);
                *changed |= changed_entry(old) != old;
                false
            },
            |_, _, _, _, _| (),
        );
        if changed {
            self.flush(start, next);
        }
        next
    }

    /// Takes the right to write to the pages of the first piece of `start..end`, and calls `note` with each page's address and what processors
    /// had noted of it by then. Where the next piece starts.
    pub fn take_all_marks(&mut self, start: usize, end: usize, mut note: impl FnMut(usize, Marks)) -> usize {
        let mut changed = false;
        let next = self.each_entry(
            start,
            end,
            &mut changed,
            |_, changed, address, entry| {
                let taken = bit::ACCESSED | bit::DIRTY | bit::WRITE;
                // SAFETY: a leaf entry of this table; the frame stays. The processor writes to it, too.
                let old = unsafe { AtomicU64::from_ptr(entry) }.fetch_and(!taken, Ordering::AcqRel);
                *changed |= old & (bit::DIRTY | bit::WRITE) != 0;
                note(address, Marks::of(old));
                false
            },
            |_, _, _, _, _| (),
        );
        if changed {
            self.flush(start, next);
        }
        next
    }

    /// How many pages of the first piece of `start..end` there are, and where the next piece starts.
    pub fn count(&mut self, start: usize, end: usize) -> (usize, usize) {
        let mut count = 0;
        let each = |_: &mut Self, count: &mut usize, _, _| {
            *count += 1;
            false
        };
        let next = self.each_entry(start, end, &mut count, each, |_, _, _, _, _| ());
        (count, next)
    }

    /// Gives `child` the pages in the first piece of `start..end` too. With `copy_on_write`, both lose write access, but for pages that a
    /// device may write to: of those the child gets a copy. The caller flushes. Where the next piece starts.
    pub fn share(
        &mut self,
        child: &mut UserTable,
        start: usize,
        end: usize,
        copy_on_write: bool,
    ) -> Result<usize, NoMemory> {
        struct State<'a> {
            child: &'a mut UserTable,
            result: Result<(), NoMemory>,
            leaf: Option<u64>,
            added: u32,
        }
        let mut state = State { child, result: Ok(()), leaf: None, added: 0 };
        let next = self.each_entry(
            start,
            end,
            &mut state,
            |_, state, address, entry| {
                if state.result.is_err() {
                    return false;
                }
                // One walk in the child for each 2 MiB.
                let table = match state.leaf {
                    Some(table) => table,
                    None => match state.child.leaf_or_create(address) {
                        Ok(table) => *state.leaf.insert(table),
                        Err(error) => {
                            state.result = Err(error);
                            return false;
                        }
                    },
                };
                // SAFETY: leaf entries of the two tables; the clone's reference passes to the child's entry, which is empty
                // since the child is new in this range.
                unsafe {
                    let mut value = entry.read();
                    let frame = core::mem::ManuallyDrop::new(Frame::from_physical(value & bit::ADDRESS));
                    if copy_on_write && frame.is_pinned() {
                        let Some(copy) = frame.duplicate() else {
                            state.result = Err(NoMemory);
                            return false;
                        };
                        value = value & !bit::ADDRESS | copy.into_physical();
                    } else {
                        if copy_on_write && value & bit::WRITE != 0 {
                            value &= !bit::WRITE;
                            entry.write(value);
                        }
                        core::mem::forget(Frame::clone(&frame));
                    }
                    slot(table, address as u64, 0).write(value);
                }
                state.added += 1;
                false
            },
            |_, state, _, _, _| {
                if let Some(table) = state.leaf.take() {
                    counts::add_table_entries(table, state.added);
                    state.child.pages += state.added as usize;
                    state.added = 0;
                }
            },
        );
        state.result.map(|()| next)
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
        let tables = match self.walk(from) {
            Walk::Leaf(tables) => tables,
            Walk::Missing(level) => {
                let span = 1usize << (12 + 9 * level);
                return Ok(((from | (span - 1)) + 1).min(end) - from);
            }
        };
        // Within one table on both sides.
        let piece = (leaf_end(from) - from).min(leaf_end(to) - to).min(length).min(PIECE * PAGE_SIZE);
        let target = self.leaf_or_create(to)?;
        let space = self.space.clone();
        let mut batch = Batch::new();
        let (mut moved, mut added) = (0, 0);
        for offset in (0..piece).step_by(PAGE_SIZE) {
            let entry = slot(tables[0], (from + offset) as u64, 0);
            // SAFETY: leaf entries of this table; the reference moves from one to the other, and that of what was there to the batch.
            unsafe {
                // The processor may note a write until then.
                let value = AtomicU64::from_ptr(entry).swap(0, Ordering::AcqRel);
                if value == 0 {
                    continue;
                }
                moved += 1;
                let old = slot(target, (to + offset) as u64, 0).replace(value);
                if old == 0 {
                    added += 1;
                } else {
                    self.pages -= 1;
                    batch.add(&space, to + offset, Frame::from_physical(old & bit::ADDRESS));
                }
            }
        }
        counts::remove_table_entries(tables[0], moved);
        counts::add_table_entries(target, added);
        batch.free(&space);
        self.flush(from, from + piece);
        Ok(piece)
    }
}
