// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing what is mapped: mmap, munmap, mprotect, brk.

use alloc::vec::Vec;

use exo_hal::{
    PAGE_SIZE, USER_END,
    mm::{frame, paging::UserTable},
    sync::SpinGuard,
};
use exo_logic::areas::{Area, Flags, Found, MAY_ALL};

use super::{
    AT_ONCE, AddressSpace, Backing, Inner, Killed, LOWEST, MAPPINGS_TOP, MAX_AREAS, mappings::page_at,
    page_up,
};
use exo_core::{
    errno::{Errno, Result},
    limits::index,
    room,
    sched::spans,
    thread::soft_limit,
};

/// Where a new mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Anywhere, if possible at this address.
    Hint(usize),
    /// Here, replacing what is there.
    Fixed(usize),
    /// Here, if nothing is there.
    FixedFree(usize),
}

/// Checks a page-aligned range of the user's half: its end.
pub(super) fn check(start: usize, length: usize) -> Result<usize> {
    let end = page_up(length).and_then(|l| start.checked_add(l)).ok_or(Errno::ENOMEM)?;
    if start % PAGE_SIZE != 0 {
        Err(Errno::EINVAL)
    } else if end > USER_END {
        Err(Errno::ENOMEM)
    } else {
        Ok(end)
    }
}

/// Removes the pages of the first piece of `start..end`, which are `area`'s; where the next piece starts. An object that wants to know hears
/// what was noted of them.
pub(super) fn unmap(table: &mut UserTable, area: &Area<Backing>, start: usize, end: usize) -> usize {
    let mut end = end;
    if let Backing::File { object, offset, shared: true, .. } = &area.backing {
        if object.wants_marks() {
            // They cannot be written any more then, so nothing is missed.
            end = table.take_all_marks(start, end, |at, marks| {
                object.note_marks(page_at(area, *offset, at), marks);
            });
        }
    }
    table.unmap(start, end)
}

impl Inner {
    /// Whether `length` more bytes fit what the process may have; ENOMEM if not.
    pub(super) fn check_limits(&self, length: usize, flags: Flags) -> Result<()> {
        if (self.mapped as u64).saturating_add(length as u64) > soft_limit(index::AS) {
            return Err(Errno::ENOMEM);
        }
        if flags.is_data() { self.check_data(length) } else { Ok(()) }
    }

    /// Whether `length` more bytes of data fit RLIMIT_DATA; ENOMEM if not.
    fn check_data(&self, length: usize) -> Result<()> {
        let most = soft_limit(index::DATA);
        if most == u64::MAX {
            return Ok(());
        }
        let data = self.areas.iter().filter(|a| a.flags.is_data()).map(|a| a.end - a.start).sum::<usize>();
        if (data as u64).saturating_add(length as u64) > most { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Removes areas whose pages are gone, or go next.
    fn remove_areas(&mut self, start: usize, end: usize) -> Vec<Area<Backing>> {
        let removed = self.areas.remove(start, end);
        self.mapped -= removed.iter().map(|a| a.end - a.start).sum::<usize>();
        self.forget(&removed);
        removed
    }

    /// Removes what comes first in a range, with its pages: and where the rest starts.
    fn remove_piece(&mut self, start: usize, end: usize) -> Result<(Vec<Area<Backing>>, usize)> {
        /// Areas that are removed at once.
        const MOST: usize = 4;
        if self.areas.len() >= MAX_AREAS
            && self.areas.find(start).is_some_and(|area| area.start < start && end < area.end)
        {
            // One would become two.
            return Err(Errno::ENOMEM);
        }
        self.note_peak();
        let mut at = start;
        for _ in 0..MOST {
            let Some(area) = self.areas.find_above(at).filter(|area| area.start < end) else {
                at = end;
                break;
            };
            let (from, to) = (area.start.max(at), area.end.min(end));
            at = unmap(&mut self.table, area, from, to);
            if at < to {
                break;
            }
        }
        Ok((self.remove_areas(start, at), at))
    }

    /// Notes how much memory there is, before some goes.
    pub(super) fn note_peak(&mut self) {
        self.peak_pages = self.peak_pages.max(self.table.pages());
    }

    pub(super) fn insert(&mut self, mut area: Area<Backing>) -> Result<()> {
        if self.areas.len() >= MAX_AREAS || !room::has_room(0) {
            return Err(Errno::ENOMEM);
        }
        if let Backing::File { object, .. } = &area.backing {
            object.mappings().add(self.number);
        }
        area.flags.set(Flags::LOCKED, self.lock_future || area.flags.contains(Flags::LOCKED));
        self.mapped += area.end - area.start;
        self.peak_mapped = self.peak_mapped.max(self.mapped);
        self.areas.insert(area);
        Ok(())
    }

    pub(super) fn is_free(&self, start: usize, end: usize) -> bool {
        self.areas.overlapping(start, end).next().is_none()
    }
}

impl AddressSpace {
    /// The highest free range of `bytes` bytes, for who has `changes`. The lock comes with it: a stack may grow into it later.
    pub(super) fn find_free(&self, bytes: usize) -> Result<(usize, SpinGuard<'_, Inner>)> {
        /// Areas that are looked at with the lock held.
        const AT_ONCE: usize = 256;
        let start_search = |inner: &Inner| inner.areas.search(bytes, LOWEST, inner.mappings_top);
        let mut search = start_search(&self.inner.lock());
        loop {
            let mut inner = self.inner.lock();
            match inner.areas.search_on(&mut search, AT_ONCE) {
                Found::At(start) if inner.is_free(start, start + bytes) => return Ok((start, inner)),
                Found::At(_) => search = start_search(&inner),
                Found::Nothing => return Err(Errno::ENOMEM),
                Found::NotYet => {}
            }
            drop(inner);
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
    }

    /// Where a mapping of `bytes` bytes would go now.
    pub fn find_free_range(&self, bytes: usize) -> Result {
        let _changes = self.changes.lock()?;
        self.find_free(bytes).map(|(start, _)| start)
    }

    /// Unmaps a range, for who has `changes`.
    pub(super) fn remove(&self, start: usize, end: usize, killed: Killed) -> Result<()> {
        let mut at = start;
        while at < end {
            let (gone, next) = self.inner.lock().remove_piece(at, end)?;
            drop(gone);
            at = next;
            if spans::point() && killed == Killed::Stops && at < end {
                return Err(Errno::EINTR);
            }
        }
        Ok(())
    }

    /// Maps exactly `start..end`, replacing what is there.
    pub fn map_fixed(&self, start: usize, end: usize, flags: Flags, backing: Backing) -> Result<()> {
        check(start, end.saturating_sub(start))?;
        let _changes = self.changes.lock()?;
        self.remove(start, end, Killed::Stops)?;
        let mut inner = self.inner.lock();
        inner.insert(Area { start, end, flags: flags | MAY_ALL, backing })
    }

    /// Maps `length` bytes; where. With `reserve`, private memory that can be written is refused if there never is as much.
    pub fn map(
        &self,
        placement: Placement,
        length: usize,
        flags: Flags,
        backing: Backing,
        reserve: bool,
    ) -> Result {
        let length = page_up(length).filter(|l| *l > 0).ok_or(if length == 0 {
            Errno::EINVAL
        } else {
            Errno::ENOMEM
        })?;
        let _changes = self.changes.lock()?;
        let mut inner = self.inner.lock();
        inner.check_limits(length, flags)?;
        // What can never be had is refused now rather than when it is touched.
        let private = !matches!(backing, Backing::File { shared: false, .. });
        if reserve && private && flags.contains(Flags::WRITE) && length / PAGE_SIZE > frame::totals().0 {
            return Err(Errno::ENOMEM);
        }
        let start = match placement {
            Placement::Fixed(start) => {
                let end = check(start, length)?;
                if start < LOWEST {
                    return Err(Errno::EPERM);
                }
                drop(inner);
                self.remove(start, end, Killed::Stops)?;
                inner = self.inner.lock();
                start
            }
            Placement::FixedFree(start) => {
                let end = check(start, length)?;
                if start < LOWEST {
                    return Err(Errno::EPERM);
                }
                if !inner.is_free(start, end) {
                    return Err(Errno::EEXIST);
                }
                start
            }
            Placement::Hint(hint) => {
                let hint = hint & !(PAGE_SIZE - 1);
                let fits = hint >= LOWEST
                    && hint
                        .checked_add(length)
                        .is_some_and(|end| end <= MAPPINGS_TOP && inner.is_free(hint, end));
                if fits {
                    hint
                } else {
                    drop(inner);
                    let (start, locked) = self.find_free(length)?;
                    inner = locked;
                    start
                }
            }
        };
        inner.insert(Area { start, end: start + length, flags, backing })?;
        Ok(start)
    }

    /// Unmaps what is in the range.
    pub fn unmap(&self, start: usize, length: usize) -> Result<()> {
        let end = check(start, length).map_err(|_| Errno::EINVAL)?;
        if length == 0 {
            return Err(Errno::EINVAL);
        }
        let _changes = self.changes.lock()?;
        self.remove(start, end, Killed::Stops)
    }

    /// Unmaps everything, for the last who has it.
    pub fn clear(&self) {
        // It ends its task's time in it, which is to end already.
        let _ = self.remove(0, USER_END, Killed::GoesOn);
    }

    /// Changes the protection of a range that is mapped without a gap; with `grows_down`, from the start of the stack there on.
    pub fn protect(&self, start: usize, length: usize, protection: Flags, grows_down: bool) -> Result<()> {
        let mut start = start;
        let end = check(start, length)?;
        let _changes = self.changes.lock()?;
        {
            let inner = self.inner.lock();
            if grows_down {
                let area = inner.areas.find_above(start).filter(|a| a.start < end).ok_or(Errno::ENOMEM)?;
                if !area.flags.contains(Flags::GROWS_DOWN) {
                    return Err(Errno::EINVAL);
                }
                start = area.start;
            }
        }
        // With `changes` locked, what is looked at here stays so.
        let (mut more, mut covered, mut has_gap) = (0, start, false);
        self.areas_in(start, end, |area| {
            let is_sealed = matches!(&area.backing, Backing::File { object, shared: true, .. } if object.forbids_writing());
            let becomes_writable = protection.contains(Flags::WRITE) && !area.flags.contains(Flags::WRITE);
            if !area.flags.may_become(protection) || becomes_writable && is_sealed {
                return Err(Errno::EACCES);
            }
            has_gap |= area.start > covered;
            covered = area.end;
            if (area.flags | protection).is_data() && !area.flags.is_data() {
                more += area.end.min(end) - area.start.max(start);
            }
            Ok(())
        })?;
        {
            let inner = self.inner.lock();
            if has_gap || covered < end || !room::has_room(0) || inner.areas.len() + 2 > MAX_AREAS {
                return Err(Errno::ENOMEM);
            }
            if more > 0 && protection.contains(Flags::WRITE) {
                inner.check_data(more)?;
            }
        }
        // To its end, as nothing would be half-way.
        let mut protected = start;
        self.in_parts(start, end, Killed::GoesOn, |inner, at, end| {
            if at >= protected {
                protected = inner.areas.end_of_some(at, AT_ONCE / 4).min(end);
                inner.areas.protect(at, protected, protection);
            }
            Ok(inner.table.protect(at, protected, super::access(protection)))
        })
    }

    /// Looks at the areas that touch `start..end`, some at a time; EINTR if the task is to end meanwhile.
    pub(super) fn areas_in(
        &self,
        start: usize,
        end: usize,
        mut each: impl FnMut(&Area<Backing>) -> Result<()>,
    ) -> Result<()> {
        let mut at = start;
        while at < end {
            let inner = self.inner.lock();
            for _ in 0..AT_ONCE {
                let Some(area) = inner.areas.find_above(at).filter(|area| area.start < end) else {
                    return Ok(());
                };
                each(area)?;
                at = area.end;
            }
            drop(inner);
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
        Ok(())
    }

    /// Moves the end of the heap; where it is afterwards.
    pub fn brk(&self, wanted: usize) -> usize {
        let Ok(_changes) = self.changes.lock() else { return 0 };
        let mut inner = self.inner.lock();
        let (start, old) = (inner.heap_start, inner.heap_end);
        let (Some(new_page), Some(old_page)) = (page_up(wanted), page_up(old)) else { return old };
        let Some(size) = wanted.checked_sub(start) else { return old };
        if new_page > MAPPINGS_TOP
            || size as u64 > soft_limit(index::DATA)
            || size / PAGE_SIZE > frame::totals().0
        {
            return old;
        }
        if new_page > old_page {
            if !inner.is_free(old_page, new_page) {
                return old;
            }
            let flags = Flags::READ | Flags::WRITE | Flags::HEAP | MAY_ALL;
            if inner.check_limits(new_page - old_page, flags).is_err() {
                return old;
            }
            let area = Area { start: old_page, end: new_page, flags, backing: Backing::Anonymous };
            if inner.insert(area).is_err() {
                return old;
            }
        } else {
            drop(inner);
            if self.remove(new_page, old_page, Killed::GoesOn).is_err() {
                return old;
            }
            inner = self.inner.lock();
        }
        inner.heap_end = wanted;
        wanted
    }
}
