// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing what is mapped: mmap, munmap, mprotect, mremap, madvise, brk.

use exo_hal::{PAGE_SIZE, USER_END, mm::frame};
use exo_logic::areas::{Area, Backing as _, Flags};

use super::{
    AddressSpace, Backing, Inner, Killed, LOWEST, MAPPINGS_TOP, MAX_AREAS, oom, page_up, pages::Sharing,
};
use crate::errno::{Errno, Result};

/// Where a new mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere, if possible at this address.
    Hint(usize),
    /// Here, replacing what is there.
    Fixed(usize),
    /// Here, if nothing is there.
    FixedFree(usize),
}

/// Checks a page-aligned range of the user's half: its end.
fn check(start: usize, length: usize) -> Result<usize> {
    let end = page_up(length).and_then(|l| start.checked_add(l)).ok_or(Errno::ENOMEM)?;
    if start % PAGE_SIZE != 0 {
        Err(Errno::EINVAL)
    } else if end > USER_END {
        Err(Errno::ENOMEM)
    } else {
        Ok(end)
    }
}

impl Inner {
    fn remove(&mut self, start: usize, end: usize) {
        if self.remove_areas(start, end) {
            self.forget(start, end);
        }
    }

    /// Lets go of the pages in a range.
    fn forget(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            at = self.table.unmap(at, end);
        }
    }

    /// Removes areas whose pages are gone, or go next; whether there were any.
    fn remove_areas(&mut self, start: usize, end: usize) -> bool {
        let removed = self.areas.remove(start, end);
        self.mapped -= removed.iter().map(|a| a.end - a.start).sum::<usize>();
        !removed.is_empty()
    }

    fn insert(&mut self, area: Area<Backing>) -> Result<()> {
        if self.areas.len() >= MAX_AREAS || !oom::has_room(0) {
            return Err(Errno::ENOMEM);
        }
        self.mapped += area.end - area.start;
        self.areas.insert(area);
        Ok(())
    }

    fn is_free(&self, start: usize, end: usize) -> bool {
        self.areas.overlapping(start, end).next().is_none()
    }
}

impl AddressSpace {
    /// Unmaps a range, for who has `changes`.
    fn remove(&self, start: usize, end: usize, killed: Killed) -> Result<()> {
        self.in_parts(start, end, killed, |inner, start, end| {
            if inner.areas.overlapping(start, end).next().is_none() {
                return Ok(end);
            }
            let stop = inner.table.unmap(start, end);
            inner.remove_areas(start, stop);
            Ok(stop)
        })
    }

    /// Maps exactly `start..end`, replacing what is there.
    pub fn map_fixed(&self, start: usize, end: usize, flags: Flags, backing: Backing) -> Result<()> {
        check(start, end.saturating_sub(start))?;
        let _changes = self.changes.lock()?;
        self.remove(start, end, Killed::Stops)?;
        let mut inner = self.inner.lock();
        inner.insert(Area { start, end, flags, backing })
    }

    /// Maps `length` bytes; where.
    pub fn map(&self, place: Place, length: usize, flags: Flags, backing: Backing, limit: u64) -> Result {
        let length = page_up(length).filter(|l| *l > 0).ok_or(if length == 0 {
            Errno::EINVAL
        } else {
            Errno::ENOMEM
        })?;
        let _changes = self.changes.lock()?;
        let mut inner = self.inner.lock();
        if (inner.mapped as u64).saturating_add(length as u64) > limit {
            return Err(Errno::ENOMEM);
        }
        // What can never be had is refused now rather than when it is touched.
        let private = !matches!(backing, Backing::File { shared: false, .. });
        if private && flags.contains(Flags::WRITE) && length / PAGE_SIZE > frame::totals().0 {
            return Err(Errno::ENOMEM);
        }
        let start = match place {
            Place::Fixed(start) => {
                let end = check(start, length)?;
                if start < LOWEST {
                    return Err(Errno::EPERM);
                }
                drop(inner);
                self.remove(start, end, Killed::Stops)?;
                inner = self.inner.lock();
                start
            }
            Place::FixedFree(start) => {
                let end = check(start, length)?;
                if start < LOWEST {
                    return Err(Errno::EPERM);
                }
                if !inner.is_free(start, end) {
                    return Err(Errno::EEXIST);
                }
                start
            }
            Place::Hint(hint) => {
                let hint = hint & !(PAGE_SIZE - 1);
                let fits = hint >= LOWEST
                    && hint
                        .checked_add(length)
                        .is_some_and(|end| end <= MAPPINGS_TOP && inner.is_free(hint, end));
                if fits {
                    hint
                } else {
                    inner.areas.find_free(length, LOWEST, MAPPINGS_TOP).ok_or(Errno::ENOMEM)?
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

    /// Changes the protection of a range that is mapped without a gap.
    pub fn protect(&self, start: usize, length: usize, protection: Flags) -> Result<()> {
        let end = check(start, length)?;
        let _changes = self.changes.lock()?;
        let mut inner = self.inner.lock();
        let is_read_only = |area: &Area<Backing>| matches!(&area.backing, Backing::File { pages, .. } if pages.sharing() == Sharing::ReadOnly);
        if protection.intersects(Flags::WRITE | Flags::EXECUTE)
            && inner.areas.overlapping(start, end).any(is_read_only)
        {
            return Err(Errno::EACCES);
        }
        let is_sealed = |area: &Area<Backing>| matches!(&area.backing, Backing::File { pages, shared: true, .. } if pages.seals.forbid_writing());
        if protection.contains(Flags::WRITE)
            && inner
                .areas
                .overlapping(start, end)
                .any(|area| !area.flags.contains(Flags::WRITE) && is_sealed(area))
        {
            return Err(Errno::EACCES);
        }
        if !oom::has_room(0) || !inner.areas.protect(start, end, protection) {
            return Err(Errno::ENOMEM);
        }
        drop(inner);
        // To its end, so that no page allows more than its area.
        self.in_parts(start, end, Killed::GoesOn, |inner, start, end| {
            Ok(inner.table.protect(start, end, super::access(protection)))
        })
    }

    /// Forgets the content of private pages in the range (MADV_DONTNEED).
    pub fn discard(&self, start: usize, length: usize) -> Result<()> {
        let end = check(start, length)?;
        let _changes = self.changes.lock()?;
        let covered = self.inner.lock().areas.covers(start, end);
        self.in_parts(start, end, Killed::Stops, |inner, start, end| Ok(inner.table.unmap(start, end)))?;
        if covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Whether the range is mapped without a gap.
    pub fn is_mapped(&self, start: usize, length: usize) -> Result<bool> {
        let end = check(start, length)?;
        Ok(self.inner.lock().areas.covers(start, end))
    }

    /// Whether the page at `address` has memory.
    pub fn is_resident(&self, address: usize) -> bool {
        self.inner.lock().table.get(address).is_some()
    }

    /// Moves the end of the heap; where it is afterwards.
    pub fn brk(&self, wanted: usize, limit: u64) -> usize {
        let Ok(_changes) = self.changes.lock() else { return 0 };
        let mut inner = self.inner.lock();
        let (start, old) = (inner.heap_start, inner.heap_end);
        let (Some(new_page), Some(old_page)) = (page_up(wanted), page_up(old)) else { return old };
        let Some(size) = wanted.checked_sub(start) else { return old };
        if new_page > MAPPINGS_TOP || size as u64 > limit || size / PAGE_SIZE > frame::totals().0 {
            return old;
        }
        if new_page > old_page {
            if !inner.is_free(old_page, new_page) {
                return old;
            }
            let flags = Flags::READ | Flags::WRITE | Flags::HEAP;
            let area = Area { start: old_page, end: new_page, flags, backing: Backing::Anonymous };
            if inner.insert(area).is_err() {
                return old;
            }
        } else {
            drop(inner);
            let _ = self.remove(new_page, old_page, Killed::GoesOn);
            inner = self.inner.lock();
        }
        inner.heap_end = wanted;
        wanted
    }

    /// Changes the size of a mapping, moving it if that is needed and `may_move`, or to `target`; where it is afterwards.
    pub fn remap(
        &self,
        old: usize,
        old_length: usize,
        length: usize,
        may_move: bool,
        target: Option<usize>,
    ) -> Result {
        let old_end = check(old, old_length).map_err(|_| Errno::EINVAL)?;
        let length = page_up(length).filter(|l| *l > 0).ok_or(Errno::EINVAL)?;
        let old_length = old_end - old;
        let _changes = self.changes.lock()?;
        if target.is_none() && length < old_length {
            let is_whole = self.inner.lock().areas.find(old).is_some_and(|area| area.end >= old_end);
            if is_whole {
                self.remove(old + length, old_end, Killed::Stops)?;
                return Ok(old);
            }
        }
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let area = inner.areas.find(old).cloned().ok_or(Errno::EFAULT)?;
        if area.end < old_end {
            return Err(Errno::EFAULT);
        }
        let backing = area.backing.advance(old - area.start);
        if target.is_none() {
            if length <= old_length {
                inner.remove(old + length, old_end);
                return Ok(old);
            }
            let new_end = old.checked_add(length).ok_or(Errno::ENOMEM)?;
            if area.end == old_end && new_end <= MAPPINGS_TOP && inner.is_free(old_end, new_end) {
                let added = Area {
                    start: old_end,
                    end: new_end,
                    flags: area.flags,
                    backing: backing.advance(old_length),
                };
                inner.insert(added)?;
                return Ok(old);
            }
            if !may_move {
                return Err(Errno::ENOMEM);
            }
        }
        let new = match target {
            Some(new) => {
                let new_end = check(new, length).map_err(|_| Errno::EINVAL)?;
                if new < LOWEST || new < old_end && old < new_end {
                    return Err(Errno::EINVAL);
                }
                inner.remove(new, new_end);
                new
            }
            None => inner.areas.find_free(length, LOWEST, MAPPINGS_TOP).ok_or(Errno::ENOMEM)?,
        };
        let moved = old_length.min(length);
        if inner.table.prepare_relocation(old, new, moved).is_err() {
            inner.forget(new, new + moved);
            return Err(Errno::ENOMEM);
        }
        inner.insert(Area { start: new, end: new + length, flags: area.flags, backing })?;
        let mut done = 0;
        while done < moved {
            done += inner.table.relocate(old + done, new + done, moved - done);
        }
        inner.remove(old, old_end);
        Ok(new)
    }
}
