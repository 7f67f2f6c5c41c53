// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page faults: giving memory to a page that is touched for the first time, and its own copy to one that is written.

use exo_hal::{
    PAGE_SIZE, USER_END,
    mm::{
        frame::Frame,
        paging::{Access, Page, PageEntry, UserTable},
    },
    sync::may_sleep,
};
use exo_logic::areas::{Area, Flags};

use super::{
    AddressSpace, Backing, Inner, access,
    mappings::page_at,
    object::{GetPage, VmObject, Wanted},
};
use exo_core::{errno::Errno, limits::index, sched::spans, thread::soft_limit_now};

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
    /// The page is not there yet, and who asked may not sleep.
    MustWait,
    /// The page could not be had from where it is kept.
    Failed,
    /// The task is to end, and did not wait for the page.
    Killed,
}

impl From<Unresolved> for Errno {
    fn from(why: Unresolved) -> Self {
        match why {
            Unresolved::NoMemory => Self::ENOMEM,
            Unresolved::Killed => Self::EINTR,
            _ => Self::EFAULT,
        }
    }
}

/// The limit of a stack unless somebody changes it.
const USUAL_STACK: u64 = 8 << 20;
/// No stack grows beyond this, whatever the limit says.
const MOST_STACK: u64 = 256 << 20;

/// File pages that are mapped along with the one that was touched, if they are in memory anyway: a program's code is then
/// there after a few faults instead of one for each page.
const AROUND: usize = 16;

/// What a fault wants of the object that an area shows: to write to its page, unless that is copied.
fn wanted(write: bool, shared: bool) -> Wanted {
    if write && shared { Wanted::Write } else { Wanted::Read }
}

fn ask(object: &dyn VmObject, index: u64, wanted: Wanted) -> Result<(Frame, bool), Unresolved> {
    match object.get_page(index, wanted) {
        GetPage::Ready { frame, writable } => Ok((frame, writable)),
        GetPage::Wait => Err(Unresolved::MustWait),
        GetPage::BeyondEnd => Err(Unresolved::BeyondEnd),
        GetPage::NoMemory => Err(Unresolved::NoMemory),
    }
}

impl AddressSpace {
    /// Resolves a fault at `address`. If the page is not there yet it sleeps, until it is or the task is killed: called with no spin lock
    /// held.
    pub fn handle_fault(&self, address: usize, write: bool, execute: bool) -> Result<(), Unresolved> {
        may_sleep();
        loop {
            match self.resolve(address, write, execute) {
                Err(Unresolved::MustWait) => self.await_page(address, write)?,
                done => return done,
            }
        }
    }

    /// Waits for the page at `address`. What is mapped there may be something else by now, or afterwards: the caller looks again.
    #[cold]
    fn await_page(&self, address: usize, write: bool) -> Result<(), Unresolved> {
        let page = address & !(PAGE_SIZE - 1);
        let (object, index, wanted) = {
            let inner = self.inner.lock();
            let Some(area) = inner.areas.find(page) else { return Ok(()) };
            let Backing::File { object, offset, shared, .. } = &area.backing else { return Ok(()) };
            (object.clone(), page_at(area, *offset, page), wanted(write, *shared))
        };
        object.await_page(index, wanted).map_err(|error| match error {
            Errno::EINTR => Unresolved::Killed,
            Errno::ENOMEM => Unresolved::NoMemory,
            _ => Unresolved::Failed,
        })?;
        if spans::point() { Err(Unresolved::Killed) } else { Ok(()) }
    }

    /// As [`handle_fault`](Self::handle_fault), but [`Unresolved::MustWait`] if that had to sleep.
    pub fn handle_fault_now(&self, address: usize, write: bool, execute: bool) -> Result<(), Unresolved> {
        self.resolve(address, write, execute)
    }

    #[inline(always)]
    fn resolve(&self, address: usize, write: bool, execute: bool) -> Result<(), Unresolved> {
        if address >= USER_END {
            return Err(Unresolved::NotMapped);
        }
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let page = address & !(PAGE_SIZE - 1);
        let area = match inner.areas.find(page) {
            Some(area) => area,
            None => {
                inner.grow_stack(page)?;
                inner.areas.find(page).ok_or(Unresolved::NotMapped)?
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
        let entry = inner.table.entry(page);
        match entry.page() {
            None => first_touch(entry, area, page, write, allowed),
            Some(found) if write && !found.writable => make_writable(entry, area, page, found, allowed),
            Some(found) => {
                // Another thread was faster, or protection was raised since.
                let keep = Access { write: found.writable, ..allowed };
                let table = entry.into_table();
                if !found.present {
                    table.set_access(page, keep);
                }
                table.flush(page, page + PAGE_SIZE);
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
}

fn set(entry: &mut PageEntry<'_>, frame: Frame, allowed: Access) -> Result<(), Unresolved> {
    entry.set(frame, allowed).map_err(|_| Unresolved::NoMemory)
}

#[inline]
fn first_touch(
    mut entry: PageEntry<'_>,
    area: &Area<Backing>,
    page: usize,
    write: bool,
    allowed: Access,
) -> Result<(), Unresolved> {
    let (object, offset, shared) = match &area.backing {
        Backing::Anonymous => {
            let frame = Frame::allocate_zeroed().ok_or(Unresolved::NoMemory)?;
            return set(&mut entry, frame, allowed);
        }
        Backing::File { object, offset, shared, .. } => (&**object, *offset, *shared),
    };
    let index = page_at(area, offset, page);
    let (frame, writable) = ask(object, index, wanted(write, shared))?;
    if shared {
        return set(&mut entry, frame, Access { write: allowed.write && writable, ..allowed });
    }
    if write {
        let copy = frame.duplicate().ok_or(Unresolved::NoMemory)?;
        return set(&mut entry, copy, allowed);
    }
    set(&mut entry, frame, Access { write: false, ..allowed })?;
    map_around(entry.into_table(), area, page, index, object, allowed);
    Ok(())
}

/// Maps the neighbours of a file page that are in memory and not mapped yet.
fn map_around(
    table: &mut UserTable,
    area: &Area<Backing>,
    page: usize,
    index: u64,
    object: &dyn VmObject,
    allowed: Access,
) {
    let before = (index % AROUND as u64) as usize * PAGE_SIZE;
    let first = page.saturating_sub(before).max(area.start);
    let mut frames = [const { None }; AROUND];
    object.resident_pages(index - ((page - first) / PAGE_SIZE) as u64, &mut frames);
    for (at, frame) in (first..area.end).step_by(PAGE_SIZE).zip(frames) {
        let Some(frame) = frame else { continue };
        if at == page || table.get(at).is_some() {
            continue;
        }
        // Without it, the page faults by itself later.
        if table.set(at, frame, Access { write: false, ..allowed }).is_err() {
            return;
        }
    }
}

fn make_writable(
    mut entry: PageEntry<'_>,
    area: &Area<Backing>,
    page: usize,
    found: Page,
    allowed: Access,
) -> Result<(), Unresolved> {
    match &area.backing {
        Backing::File { object, offset, shared: true, .. } => {
            let (frame, _) = ask(&**object, page_at(area, *offset, page), Wanted::Write)?;
            if frame.number() != found.frame.number() {
                return set(&mut entry, frame, allowed);
            }
        }
        _ if !found.exclusive => {
            let copy = found.frame.duplicate().ok_or(Unresolved::NoMemory)?;
            return set(&mut entry, copy, allowed);
        }
        _ => {}
    }
    let table = entry.into_table();
    table.set_access(page, allowed);
    table.flush(page, page + PAGE_SIZE);
    Ok(())
}
