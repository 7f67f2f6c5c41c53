// SPDX-License-Identifier: MIT OR Apache-2.0
//! A copy of an address space for a child.

use alloc::sync::Arc;

use exo_hal::{PAGE_SIZE, USER_END};
use exo_logic::areas::{Area, Flags};

use super::{AddressSpace, Backing, object::Sharing};
use exo_core::{
    errno::{Errno, Result},
    room,
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
            if !room::has_room(inner.areas.len() * AREA_BYTES / PAGE_SIZE) {
                return Err(Errno::ENOMEM);
            }
            new.heap_start = inner.heap_start;
            new.heap_end = inner.heap_end;
            new.mappings_top = inner.mappings_top;
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

    fn is_of_one_process(area: &Area<Backing>) -> bool {
        matches!(&area.backing, Backing::File { object, .. } if object.sharing() == Sharing::OneProcess)
    }

    /// Copies what comes first from `at` on; where to go on.
    fn copy_piece(&self, child: &Self, at: usize) -> Result<usize> {
        /// Areas that are copied at once.
        const MOST: usize = 8;
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut new = child.inner.lock();
        let new = &mut *new;
        let (mut at, mut last) = (at, 0);
        for _ in 0..MOST {
            let Some(area) = inner.areas.find_above(at) else { return Ok(USER_END) };
            let from = area.start.max(at);
            if AddressSpace::is_of_one_process(area) || area.flags.contains(Flags::DONT_FORK) {
                at = area.end;
                continue;
            }
            if from == area.start {
                new.mapped += area.end - area.start;
                if let Backing::File { object, .. } = &area.backing {
                    // Areas of one file often lie together.
                    let mappings = object.mappings();
                    if core::mem::replace(&mut last, mappings.key()) != mappings.key() {
                        mappings.add(new.number);
                    }
                }
                // Locks are not inherited.
                new.areas.append(Area { flags: area.flags.difference(Flags::LOCKED), ..area.clone() });
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
