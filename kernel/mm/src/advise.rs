// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs say about their memory: madvise, mlock, mincore, msync.

use exo_hal::PAGE_SIZE;
use exo_logic::areas::{Area, Flags};

use super::{AddressSpace, Backing, Killed, fault::Unresolved, map, mappings::page_at, object::Sharing};
use exo_core::{
    errno::{Errno, Result},
    sched::spans,
};

/// Passes a preemption point, with no spin lock held; EINTR if the running task must end.
pub(super) fn preemption_point() -> Result<()> {
    if spans::point() { Err(Errno::EINTR) } else { Ok(()) }
}

impl AddressSpace {
    /// Does `each` with every area in `start..end`, cut to it, one after the other; the first error ends it. ENOMEM at the end if there was
    /// a gap.
    pub fn each_in(
        &self,
        start: usize,
        end: usize,
        mut each: impl FnMut(&Self, &Area<Backing>) -> Result<()>,
    ) -> Result<()> {
        let mut gap = false;
        self.each_part(start, end, |this, area| {
            match area {
                Some(area) => each(this, area)?,
                None => gap = true,
            }
            Ok(())
        })?;
        if gap { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// As [`each_in`](Self::each_in), but nothing behind a gap is done.
    pub fn each_until_gap(
        &self,
        start: usize,
        end: usize,
        mut each: impl FnMut(&Self, &Area<Backing>) -> Result<()>,
    ) -> Result<()> {
        self.each_part(start, end, |this, area| each(this, area.ok_or(Errno::ENOMEM)?))
    }

    /// Does `each` with every area in `start..end`, cut to it, and with none for every gap; the first error ends it.
    fn each_part(
        &self,
        start: usize,
        end: usize,
        mut each: impl FnMut(&Self, Option<&Area<Backing>>) -> Result<()>,
    ) -> Result<()> {
        let mut at = start;
        while at < end {
            let area = self.area_above(at).filter(|area| area.start < end);
            let Some(mut area) = area else { return each(self, None) };
            if area.start > at {
                each(self, None)?;
            }
            if area.start < at {
                area.backing = exo_logic::areas::Backing::advance(&area.backing, at - area.start);
                area.start = at;
            }
            area.end = area.end.min(end);
            at = area.end;
            each(self, Some(&area))?;
            preemption_point()?;
        }
        Ok(())
    }

    /// Lets go of the pages in a range, which stays mapped.
    pub fn discard(&self, start: usize, end: usize) -> Result<()> {
        let _changes = self.changes.lock()?;
        self.in_parts(start, end, Killed::Stops, |inner, start, end| {
            inner.note_peak();
            let Some(area) = inner.areas.find_above(start).filter(|area| area.start < end) else {
                return Ok(end);
            };
            Ok(map::unmap(&mut inner.table, area, area.start.max(start), area.end.min(end)))
        })
    }

    /// Changes flags of the areas in a range.
    pub fn change_flags(&self, start: usize, end: usize, with: impl Fn(Flags) -> Flags) -> Result<()> {
        let mut inner = self.inner.lock();
        if inner.areas.len() + 2 > super::MAX_AREAS {
            return Err(Errno::ENOMEM);
        }
        inner.areas.change(start, end, with);
        Ok(())
    }

    /// Whether a child must not have it, or it is the kernel's own.
    pub fn is_special(area: &Area<Backing>) -> bool {
        matches!(&area.backing, Backing::File { object, .. } if object.sharing() != Sharing::Free)
    }

    /// Gives memory to all pages of a range that is mapped, for writing if it is private and can be written, or as `write` says.
    pub fn populate(&self, start: usize, end: usize, write: Option<bool>) -> core::result::Result<(), Errno> {
        for page in (start..end).step_by(PAGE_SIZE) {
            preemption_point()?;
            let flags = {
                let inner = self.inner.lock();
                let Some(area) = inner.areas.find(page) else { return Err(Errno::ENOMEM) };
                let wants_write = write.unwrap_or(false);
                let found = inner.table.get(page);
                if found.is_some_and(|p| p.present && (p.writable || !wants_write)) {
                    continue;
                }
                area.flags
            };
            let write = write.unwrap_or(flags.is_data());
            self.handle_fault(page, write, false).map_err(|why| match why {
                Unresolved::NoMemory => Errno::EAGAIN,
                Unresolved::NotAllowed => Errno::EINVAL,
                Unresolved::NotMapped => Errno::ENOMEM,
                Unresolved::BeyondEnd | Unresolved::MustWait | Unresolved::Failed => Errno::EFAULT,
                Unresolved::Killed => Errno::EINTR,
            })?;
        }
        Ok(())
    }

    /// Locks or unlocks everything, and what is mapped later if `future`.
    pub fn lock_all(&self, now: Option<bool>, future: bool) {
        let mut inner = self.inner.lock();
        inner.lock_future = future;
        if let Some(locked) = now {
            inner.areas.change(0, exo_hal::USER_END, |mut flags| {
                flags.set(Flags::LOCKED, locked);
                flags
            });
        }
    }

    /// Whether each page of `start..start + out.len() * PAGE_SIZE` is in memory, here or in its file; ENOMEM at a gap.
    pub fn residency(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let inner = self.inner.lock();
        for (index, out) in out.iter_mut().enumerate() {
            let page = start + index * PAGE_SIZE;
            let area = inner.areas.find(page).ok_or(Errno::ENOMEM)?;
            let in_file = || match &area.backing {
                Backing::File { object, offset, .. } => {
                    object.resident_page(page_at(area, *offset, page)).is_some()
                }
                Backing::Anonymous => false,
            };
            *out = u8::from(inner.table.get(page).is_some() || in_file());
        }
        Ok(())
    }
}
