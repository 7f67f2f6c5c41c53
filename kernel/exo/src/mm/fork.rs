// SPDX-License-Identifier: MIT OR Apache-2.0
//! A copy of an address space for a child.

use alloc::sync::Arc;

use exo_hal::{PAGE_SIZE, USER_END};
use exo_logic::areas::{Area, Flags};

use super::{AddressSpace, Backing, oom, pages::Sharing};
use crate::{
    errno::{Errno, Result},
    sched::spans,
};

/// Bytes that an area takes in the list, with the list's own.
const AREA_BYTES: usize = 2 * size_of::<Area<Backing>>();

impl AddressSpace {
    /// A copy for a child: pages are shared until one of the two writes. What other threads of the parent do to its
    /// memory meanwhile reaches the child or does not.
    pub fn fork(&self) -> Result<Arc<Self>> {
        let child = Self::new()?;
        let _changes = self.changes.lock()?;
        let result = self.copy_to(&child);
        // What was writable may still be so in the CPUs' caches.
        self.inner.lock().table.flush(0, USER_END);
        result.map(|()| child)
    }

    fn copy_to(&self, child: &Self) -> Result<()> {
        {
            let inner = self.inner.lock();
            let mut new = child.inner.lock();
            if !oom::has_room(inner.areas.len() * AREA_BYTES / PAGE_SIZE) {
                return Err(Errno::ENOMEM);
            }
            new.areas = inner.areas.clone();
            new.heap_start = inner.heap_start;
            new.heap_end = inner.heap_end;
            new.mapped = inner.mapped;
            // Locks are not inherited.
            if inner.areas.iter().any(|area| area.flags.contains(Flags::LOCKED)) {
                new.areas.change(0, USER_END, |flags| flags.difference(Flags::LOCKED));
            }
        }
        let mut at = 0;
        while at < USER_END {
            at = self.copy_piece(child, at)?;
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
        let mut new = child.inner.lock();
        new.peak_mapped = new.mapped;
        new.peak_pages = new.table.pages();
        Ok(())
    }

    /// Copies what comes first from `at` on; where to go on.
    fn copy_piece(&self, child: &Self, at: usize) -> Result<usize> {
        /// Areas that are looked at at once.
        const MOST: usize = 32;
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut new = child.inner.lock();
        let new = &mut *new;
        let mut at = at;
        for _ in 0..MOST {
            let Some(area) = inner.areas.find_above(at) else { return Ok(USER_END) };
            let from = area.start.max(at);
            let own = matches!(&area.backing, Backing::File { pages, .. } if pages.sharing() == Sharing::OneProcess);
            if own || area.flags.contains(Flags::DONT_FORK) {
                let gone = new.areas.remove(area.start, area.end);
                new.mapped -= gone.iter().map(|a| a.end - a.start).sum::<usize>();
                at = area.end;
                continue;
            }
            if area.flags.contains(Flags::WIPE_ON_FORK) {
                at = area.end;
                continue;
            }
            let copy = !matches!(area.backing, Backing::File { shared: true, .. });
            let next = inner.table.share(&mut new.table, from, area.end, copy)?;
            at = next;
            if next < area.end {
                break;
            }
        }
        Ok(at)
    }
}
