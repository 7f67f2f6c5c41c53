// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page faults: giving memory to a page that is touched for the first time, and its own copy to one that is written.

use exo_hal::{
    PAGE_SIZE, USER_END,
    mm::{
        frame::{self, Frame},
        paging::{Access, Page},
    },
};
use exo_logic::areas::{Area, Flags};

use super::{AddressSpace, Backing, Inner, access, pages::Pages};
use exo_core::{errno::Errno, limits::index, thread::soft_limit_now};

/// Why a fault cannot be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Nothing is mapped there.
    NotMapped,
    /// What is mapped there does not allow it.
    NotAllowed,
    /// The file ends before that page.
    BeyondEnd,
    /// Memory is used up.
    NoMemory,
}

impl From<Unresolved> for Errno {
    fn from(why: Unresolved) -> Self {
        if why == Unresolved::NoMemory { Self::ENOMEM } else { Self::EFAULT }
    }
}

/// The limit of a stack unless somebody changes it.
const USUAL_STACK: u64 = 8 << 20;
/// No stack grows beyond this, whatever the limit says.
const MOST_STACK: u64 = 256 << 20;

/// File pages that are mapped along with the one that was touched, if they are in memory anyway: a program's code is then
/// there after a few faults instead of one for each page.
const AROUND: usize = 16;

impl AddressSpace {
    /// Resolves a fault at `address`.
    pub fn handle_fault(&self, address: usize, write: bool, execute: bool) -> Result<(), Unresolved> {
        if address >= USER_END {
            return Err(Unresolved::NotMapped);
        }
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let page = address & !(PAGE_SIZE - 1);
        let area = match inner.areas.find(page) {
            Some(area) => area.clone(),
            None => {
                inner.grow_stack(page)?;
                inner.areas.find(page).ok_or(Unresolved::NotMapped)?.clone()
            }
        };
        let needed = match (write, execute) {
            (true, _) => Flags::WRITE,
            (_, true) => Flags::EXECUTE,
            // Memory that can be written can be read; x86 has no other way.
            _ if area.flags.intersects(Flags::READ | Flags::WRITE | Flags::EXECUTE) => Flags::empty(),
            _ => Flags::READ,
        };
        if !area.flags.contains(needed) {
            return Err(Unresolved::NotAllowed);
        }
        let allowed = access(area.flags);
        match inner.table.get(page) {
            None => inner.first_touch(&area, page, write, allowed),
            Some(found) if write && !found.writable => inner.make_writable(&area, page, found, allowed),
            Some(found) => {
                // Another thread was faster, or protection was raised since.
                let keep = Access { write: found.writable, ..allowed };
                if !found.present {
                    inner.table.set_access(page, keep);
                }
                inner.table.flush(page, page + PAGE_SIZE);
                Ok(())
            }
        }
    }
}

impl Inner {
    fn grow_stack(&mut self, page: usize) -> Result<(), Unresolved> {
        // Who copies to the program may hold the lock of the limits; then the usual ones count.
        let most = soft_limit_now(index::STACK).unwrap_or(USUAL_STACK).min(MOST_STACK);
        let above = self.areas.growing(page, most).ok_or(Unresolved::NotMapped)?;
        let start = above.start;
        let mapped = self.mapped + (start - page);
        if soft_limit_now(index::AS).is_some_and(|most| mapped as u64 > most) {
            return Err(Unresolved::NotMapped);
        }
        self.mapped = mapped;
        self.peak_mapped = self.peak_mapped.max(mapped);
        self.areas.grow_down(start, page);
        Ok(())
    }

    fn set(&mut self, page: usize, frame: Frame, allowed: Access) -> Result<(), Unresolved> {
        self.table.set(page, frame, allowed).map_err(|_| Unresolved::NoMemory)
    }

    fn first_touch(
        &mut self,
        area: &Area<Backing>,
        page: usize,
        write: bool,
        allowed: Access,
    ) -> Result<(), Unresolved> {
        let (pages, offset, shared) = match &area.backing {
            Backing::Anonymous => {
                let frame = Frame::allocate_zeroed().ok_or(Unresolved::NoMemory)?;
                return self.set(page, frame, allowed);
            }
            Backing::File { pages, offset, shared, .. } => (pages, *offset, *shared),
        };
        let index = (offset.saturating_add((page - area.start) as u64) / PAGE_SIZE as u64) as usize;
        if index as u64 * PAGE_SIZE as u64 >= pages.size() {
            return Err(Unresolved::BeyondEnd);
        }
        // What a file may not have is not there, however much memory is free.
        let short =
            || if frame::available(frame::SPARE) { Unresolved::BeyondEnd } else { Unresolved::NoMemory };
        let frame = pages.frame(index).ok_or_else(short)?;
        if shared {
            return self.set(page, frame, allowed);
        }
        if write {
            let copy = frame.duplicate().ok_or(Unresolved::NoMemory)?;
            return self.set(page, copy, allowed);
        }
        self.set(page, frame, Access { write: false, ..allowed })?;
        self.map_around(area, page, index, pages, allowed);
        Ok(())
    }

    /// Maps the neighbours of a file page that are in memory and not mapped yet.
    fn map_around(
        &mut self,
        area: &Area<Backing>,
        page: usize,
        index: usize,
        pages: &Pages,
        allowed: Access,
    ) {
        let first = page.saturating_sub((index % AROUND) * PAGE_SIZE).max(area.start);
        let first_index = index - (page - first) / PAGE_SIZE;
        let end = (first + AROUND * PAGE_SIZE).min(area.end);
        for (step, at) in (first..end).step_by(PAGE_SIZE).enumerate() {
            if at == page || self.table.get(at).is_some() {
                continue;
            }
            let Some(frame) = pages.existing(first_index + step) else { continue };
            // Without it, the page faults by itself later.
            if self.table.set(at, frame, Access { write: false, ..allowed }).is_err() {
                return;
            }
        }
    }

    fn make_writable(
        &mut self,
        area: &Area<Backing>,
        page: usize,
        found: Page,
        allowed: Access,
    ) -> Result<(), Unresolved> {
        let shared = matches!(area.backing, Backing::File { shared: true, .. });
        if shared || found.exclusive {
            self.table.set_access(page, allowed);
            self.table.flush(page, page + PAGE_SIZE);
            return Ok(());
        }
        let copy = found.frame.duplicate().ok_or(Unresolved::NoMemory)?;
        self.set(page, copy, allowed)
    }
}
