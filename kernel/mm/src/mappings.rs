// SPDX-License-Identifier: MIT OR Apache-2.0
//! From an object to the mappings that show it: what is cut off a file goes from every mapping of it, and what is written to a disk is made
//! read-only in all.
//!
//! An object knows the address spaces that have an area of it, by number, and each of those knows its areas by object
//! ([`Areas::find_showing`](exo_logic::areas::Areas::find_showing)), so that nothing else is looked at. Both change with the address space
//! locked. Who goes through them holds no lock from one address space to the next, and lets others in between two pieces.

use core::{
    ops::Bound,
    sync::atomic::{AtomicU64, Ordering},
};

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
};

use exo_hal::{
    PAGE_SIZE,
    mm::{
        frame::Frame,
        paging::{Marks, UserTable},
    },
    sync::SpinLock,
};
use exo_logic::areas::{Area, Flags};

use super::{AddressSpace, Backing, Inner};
use exo_core::{
    errno::{Errno, Result},
    room,
    sched::spans,
};

/// By number: a child's is above its parent's.
static SPACES: SpinLock<BTreeMap<u64, Weak<AddressSpace>>> = SpinLock::new(BTreeMap::new());

/// The number of a new one.
pub(super) fn next_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Enters a new one.
pub(super) fn enter(space: &Arc<AddressSpace>) -> Result<()> {
    if !room::has_room(0) {
        return Err(Errno::ENOMEM);
    }
    SPACES.lock().insert(space.number, Arc::downgrade(space));
    Ok(())
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        SPACES.lock().remove(&self.number);
        // That of a fork that failed has areas.
        for area in self.inner.get_mut().areas.iter() {
            if let Backing::File { object, .. } = &area.backing {
                object.mappings().remove(self.number);
            }
        }
    }
}

/// The mappings of one object, which has it inside.
pub struct Mappings {
    /// The numbers of address spaces that have an area of it.
    spaces: SpinLock<BTreeSet<u64>>,
}

impl Default for Mappings {
    fn default() -> Self {
        Self::new()
    }
}

impl Mappings {
    /// None.
    pub const fn new() -> Self {
        Self { spaces: SpinLock::new(BTreeSet::new()) }
    }

    /// What address spaces know the object by.
    pub(super) fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// An address space has an area of it, with that space locked.
    pub(super) fn add(&self, space: u64) {
        self.spaces.lock().insert(space);
    }

    /// It has none any more.
    pub(super) fn remove(&self, space: u64) {
        self.spaces.lock().remove(&space);
    }

    /// Whether anybody shows it.
    pub fn are_none(&self) -> bool {
        self.spaces.lock().is_empty()
    }

    /// The first address space above `number` that is still in use.
    fn next_above(&self, mut number: u64) -> Option<Arc<AddressSpace>> {
        loop {
            let after = (Bound::Excluded(number), Bound::Unbounded);
            number = self.spaces.lock().range(after).next().copied()?;
            // One that is being dropped has no process any more.
            let space = SPACES.lock().get(&number).and_then(Weak::upgrade);
            if space.is_some() {
                return space;
            }
        }
    }

    /// Calls `step` with each address space that shows it, locked, and an address: what it does comes first from there on, and it says where
    /// the rest begins, or nothing if there is no more.
    fn each_piece(&self, mut step: impl FnMut(&mut Inner, usize) -> Option<usize>) {
        let mut number = 0;
        // Parents first: what a child has from one that is yet to come, it has before its own turn.
        while let Some(space) = self.next_above(number) {
            number = space.number;
            let (mut from, mut moves, mut stays) = (0, None, None);
            loop {
                let mut inner = space.inner.lock();
                let now = inner.moves;
                if stays.is_none() && moves.replace(now).is_some_and(|before| before != now) {
                    drop(inner);
                    // What is to come may be where this has been. So that a program does not keep this up by moving pages for ever, they
                    // stay where they are from here on; who is killed waits for nobody, and goes on without.
                    stays = Some(space.changes.lock());
                    from = 0;
                    continue;
                }
                let next = step(&mut inner, from);
                drop(inner);
                // To the end, also when the task is to end.
                let _ = spans::point();
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
            if Arc::strong_count(&space) == 1 {
                // Its process has ended meanwhile.
                space.clear();
            }
        }
    }

    /// Calls `with` with every area that shows it, each with its address space locked; from one piece to the next they may change.
    pub fn each(&self, mut with: impl FnMut(&Area<Backing>)) {
        let key = self.key();
        self.each_piece(|inner, from| {
            let area = inner.areas.find_showing(key, from)?;
            with(area);
            Some(area.end)
        });
    }

    /// Unmaps pages `first..end` wherever they are mapped, private copies too: who touches them next finds the object as it is then.
    pub fn unmap(&self, first: u64, end: u64) {
        let key = self.key();
        self.each_piece(|inner, from| {
            let area = inner.areas.find_showing(key, from)?;
            let (at, stop) = (from.max(address_of(area, first)), address_of(area, end));
            if at < stop {
                let done = inner.table.unmap(at, stop);
                if done < stop {
                    return Some(done);
                }
            }
            Some(area.end)
        });
    }

    /// Unmaps pages that have been taken from the object, in order, wherever they are mapped; private copies stay.
    pub(super) fn unmap_taken(&self, taken: &[(u64, Frame)]) {
        let (Some((first, _)), Some((last, _))) = (taken.first(), taken.last()) else { return };
        let (first, end) = (*first, last + 1);
        let key = self.key();
        self.each_piece(|inner, from| {
            let area = inner.areas.find_showing(key, from)?;
            let (at, stop) = (from.max(address_of(area, first)), address_of(area, end));
            if at < stop && area.flags.contains(Flags::SHARED) {
                let done = inner.table.unmap(at, stop);
                return Some(if done < stop { done } else { area.end });
            }
            for (index, frame) in taken {
                let at = address_of(area, *index);
                let shows = |table: &UserTable| {
                    table.get(at).is_some_and(|page| page.frame.number() == frame.number())
                };
                if at < address_of(area, index + 1) && shows(&inner.table) {
                    inner.table.unmap(at, at + PAGE_SIZE);
                }
            }
            Some(area.end)
        });
    }

    /// Calls `with` with the tables of each address space that shows page `index` by this frame, and where.
    fn each_showing(
        &self,
        index: u64,
        frame: &Frame,
        only_shared: bool,
        mut with: impl FnMut(&mut UserTable, usize),
    ) {
        let key = self.key();
        self.each_piece(|inner, from| {
            let area = inner.areas.find_showing(key, from)?;
            let (next, at) = (area.end, address_of(area, index));
            let is_in =
                at < address_of(area, index + 1) && (!only_shared || area.flags.contains(Flags::SHARED));
            // A private copy is another frame.
            if is_in && inner.table.get(at).is_some_and(|page| page.frame.number() == frame.number()) {
                with(&mut inner.table, at);
            }
            Some(next)
        });
    }

    /// Takes the right to write to page `index` from all who share it: the next write asks the object. What the processors had noted.
    pub fn write_protect(&self, index: u64, frame: &Frame) -> Marks {
        let mut marks = Marks::default();
        self.each_showing(index, frame, true, |table, at| marks |= table.take_marks(at, true));
        marks
    }

    /// What the processors have noted of page `index` since it was asked last.
    pub fn take_marks(&self, index: u64, frame: &Frame) -> Marks {
        let mut marks = Marks::default();
        self.each_showing(index, frame, false, |table, at| marks |= table.take_marks(at, false));
        marks
    }

    /// Takes page `index` from all mappings; private copies stay. What the processors had noted.
    pub fn unmap_page(&self, index: u64, frame: &Frame) -> Marks {
        let mut marks = Marks::default();
        self.each_showing(index, frame, false, |table, at| {
            marks |= table.take_marks(at, true);
            table.unmap(at, at + PAGE_SIZE);
        });
        marks
    }
}

/// The page that `at`, in `area`, shows of an object whose byte `offset` is at the area's start.
#[inline]
pub(super) fn page_at(area: &Area<Backing>, offset: u64, at: usize) -> u64 {
    offset.saturating_add((at - area.start) as u64) / PAGE_SIZE as u64
}

/// Where a page of the object is in an area of it: the area's start or end if it is before or behind.
fn address_of(area: &Area<Backing>, page: u64) -> usize {
    let Backing::File { offset, .. } = &area.backing else { return area.end };
    let bytes = page.saturating_sub(offset / PAGE_SIZE as u64).saturating_mul(PAGE_SIZE as u64);
    usize::try_from(bytes).unwrap_or(usize::MAX).min(area.end - area.start) + area.start
}

impl Inner {
    /// Notes that these areas are gone.
    pub(super) fn forget(&self, removed: &[Area<Backing>]) {
        let mut last = 0;
        for area in removed {
            if let Backing::File { object, .. } = &area.backing {
                // Areas of one file often lie together.
                let mappings = object.mappings();
                let key = mappings.key();
                if core::mem::replace(&mut last, key) != key && !self.areas.shows(key) {
                    mappings.remove(self.number);
                }
            }
        }
    }
}
