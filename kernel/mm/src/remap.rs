// SPDX-License-Identifier: MIT OR Apache-2.0
//! mremap: making a mapping longer or shorter, and moving it with its pages.
//!
//! Pages move piece by piece, with the address space unlocked in between. Both ranges are areas until all have moved: the part of each that
//! has no pages cannot be accessed, so that nothing gets there, and a fault waits for the end
//! ([`AddressSpace::await_change`]).

use exo_hal::PAGE_SIZE;
use exo_logic::areas::{Area, Backing as _, Flags, PROTECTION};

use super::{AddressSpace, Backing, Inner, Killed, LOWEST, MAPPINGS_TOP, MAX_AREAS, map::check, page_up};
use exo_core::{
    errno::{Errno, Result},
    sched::spans,
};

/// Areas that a move makes at most before those that it moves are gone: the new one, and what is left on both sides of the old one.
const MORE_AREAS: usize = 3;

/// Pages on their way.
struct Move {
    from: usize,
    to: usize,
    bytes: usize,
    /// What may be done with them.
    protection: Flags,
}

/// What was asked for, as far as it can be judged without what is mapped.
struct RemapRequest {
    old: usize,
    old_end: usize,
    /// Bytes afterwards.
    length: usize,
    may_move: bool,
    target: Option<usize>,
}

impl AddressSpace {
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
        let request = RemapRequest { old, old_end, length, may_move, target };
        let _changes = self.changes.lock()?;
        if target.is_none() && length < old_end - old {
            let is_whole = self.inner.lock().areas.find(old).is_some_and(|area| area.end >= old_end);
            if is_whole {
                self.remove(old + length, old_end, Killed::Stops)?;
                return Ok(old);
            }
        }
        let (area, stays) = self.inner.lock().resize(&request)?;
        if stays {
            return Ok(old);
        }
        if let Some(new) = target {
            let new_end = check(new, length).map_err(|_| Errno::EINVAL)?;
            if new < LOWEST || new < old_end && old < new_end {
                return Err(Errno::EINVAL);
            }
            self.remove(new, new_end, Killed::Stops)?;
        }
        self.move_area(&request, &area)
    }

    /// Moves the part of `area` that was asked for, which is as `Inner::resize` gave it, and lets go of what is left of it.
    fn move_area(&self, request: &RemapRequest, area: &Area<Backing>) -> Result {
        let RemapRequest { old, old_end, length, .. } = *request;
        let protection = area.flags & PROTECTION;
        let (new, peak) = {
            let (new, mut inner) = match request.target {
                Some(new) => (new, self.inner.lock()),
                None => self.find_free(length)?,
            };
            if inner.areas.len() + MORE_AREAS > MAX_AREAS {
                return Err(Errno::ENOMEM);
            }
            let peak = inner.peak_mapped;
            let (flags, backing) = (area.flags.difference(PROTECTION), area.backing.clone());
            inner.insert(Area { start: new, end: new + length, flags, backing })?;
            (new, peak)
        };
        let bytes = length.min(old_end - old);
        let pages = Move { from: old, to: new, bytes, protection };
        if let Err(error) = self.move_pages(&pages) {
            self.remove(new, new + length, Killed::GoesOn)?;
            return Err(error);
        }
        self.inner.lock().areas.change(new + bytes, new + length, |flags| flags | protection);
        self.remove(old, old_end, Killed::GoesOn)?;
        let mut inner = self.inner.lock();
        // It was never mapped twice, as far as anybody is concerned.
        inner.peak_mapped = peak.max(inner.mapped);
        Ok(new)
    }

    /// Moves pages, to the end if the task is killed meanwhile; all of them, or none if there is no memory for the tables.
    fn move_pages(&self, pages: &Move) -> Result<()> {
        let (bytes, result) = self.move_some(pages);
        if result.is_err() {
            // The tables for this are there still.
            let back = Move { from: pages.to, to: pages.from, bytes, ..*pages };
            let _ = self.move_some(&back);
        }
        result
    }

    /// Moves pages until there is no memory for a table: how many bytes.
    fn move_some(&self, pages: &Move) -> (usize, Result<()>) {
        let mut done = 0;
        while done < pages.bytes {
            let moved = self.inner.lock().move_piece(pages, done);
            match moved {
                Ok(bytes) => done += bytes,
                Err(error) => return (done, Err(error)),
            }
            let _ = spans::point();
        }
        (done, Ok(()))
    }

    /// For a fault that found nothing or too little: if a change of what is mapped is under way, waits for its end. Whether the access is
    /// to be tried again then.
    pub fn await_change(&self) -> bool {
        // Who is killed meanwhile need not know what came of it.
        self.changes.is_locked() && self.changes.lock().map(drop).is_ok()
    }
}

impl Inner {
    /// Checks a request: the area from the old address on, and whether it stays where it is, with its new size.
    fn resize(&mut self, request: &RemapRequest) -> Result<(Area<Backing>, bool)> {
        let RemapRequest { old, old_end, length, may_move, target } = *request;
        let old_length = old_end - old;
        let mut area = self.areas.find(old).cloned().ok_or(Errno::EFAULT)?;
        if area.end < old_end {
            return Err(Errno::EFAULT);
        }
        area.backing = area.backing.advance(old - area.start);
        area.start = old;
        if length > old_length {
            if AddressSpace::is_special(&area) {
                return Err(Errno::EFAULT);
            }
            self.check_limits(length - old_length, area.flags)?;
        }
        if old_length == 0 {
            // Another mapping of the same pages.
            if !area.flags.contains(Flags::SHARED) {
                return Err(Errno::EINVAL);
            }
            if !may_move {
                return Err(Errno::ENOMEM);
            }
        }
        if target.is_some() {
            return Ok((area, false));
        }
        if length <= old_length {
            return Ok((area, true));
        }
        let new_end = old.checked_add(length).ok_or(Errno::ENOMEM)?;
        let grows = old_length > 0 && area.end == old_end && new_end <= MAPPINGS_TOP;
        if grows && self.is_free(old_end, new_end) {
            let backing = area.backing.advance(old_length);
            self.insert(Area { start: old_end, end: new_end, flags: area.flags, backing })?;
            return Ok((area, true));
        }
        if may_move { Ok((area, false)) } else { Err(Errno::ENOMEM) }
    }

    /// Moves the piece that begins `done` bytes after the start; how many bytes that is.
    fn move_piece(&mut self, pages: &Move, done: usize) -> Result {
        let Move { from, to, bytes, protection } = *pages;
        let (from, to) = (from + done, to + done);
        let piece = self.table.relocate(from, to, bytes - done)?;
        debug_assert!(piece > 0 && piece % PAGE_SIZE == 0, "moving goes on, page by page");
        self.areas.change(from, from + piece, |flags| flags.difference(PROTECTION));
        self.areas.change(to, to + piece, |flags| flags | protection);
        // Who looks through all areas may have passed where they are now.
        self.moves += 1;
        Ok(piece)
    }
}
