// SPDX-License-Identifier: MIT OR Apache-2.0
//! All address spaces, to find those that map a file: what is cut off a file goes from every mapping of it.

use core::{
    ops::Bound,
    sync::atomic::{AtomicU64, Ordering},
};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use exo_hal::{PAGE_SIZE, sync::SpinLock};

use super::{AddressSpace, Backing, Pages};
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
pub(super) fn add(space: &Arc<AddressSpace>) -> Result<()> {
    if !room::has_room(0) {
        return Err(Errno::ENOMEM);
    }
    SPACES.lock().insert(space.number, Arc::downgrade(space));
    Ok(())
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        SPACES.lock().remove(&self.number);
    }
}

/// The first one above `number` that is still in use.
fn next_above(number: u64) -> Option<Arc<AddressSpace>> {
    let spaces = SPACES.lock();
    spaces.range((Bound::Excluded(number), Bound::Unbounded)).find_map(|(_, space)| space.upgrade())
}

/// Unmaps pages `first..end` of a file wherever they are mapped, private copies too: who touches them next finds the file as it is then.
pub(super) fn unmap_file(pages: &Pages, first: u64, end: u64) {
    let mut number = 0;
    // Parents first: what a child has from one that is yet to come, it has before its own turn.
    while let Some(space) = next_above(number) {
        number = space.number;
        space.unmap_file(pages, first, end);
        if Arc::strong_count(&space) == 1 {
            // Its process has ended meanwhile.
            space.clear();
        }
    }
}

impl AddressSpace {
    fn unmap_file(&self, pages: &Pages, first: u64, end: u64) {
        let mut from = 0;
        let mut moves = None;
        loop {
            {
                let mut inner = self.inner.lock();
                let now = inner.moves;
                if moves.replace(now).is_some_and(|before| before != now) {
                    // What is to come may be where this has been.
                    from = 0;
                }
                let Some(area) = inner.areas.find_above(from) else { return };
                let (start, area_end) = (area.start, area.end);
                let mut next = area_end;
                if let Backing::File { pages: own, offset, .. } = &area.backing {
                    if core::ptr::eq(Arc::as_ptr(own), pages) {
                        let index = offset / PAGE_SIZE as u64;
                        let place = |page: u64| {
                            let bytes = page.saturating_sub(index).saturating_mul(PAGE_SIZE as u64);
                            usize::try_from(bytes).unwrap_or(usize::MAX).min(area_end - start) + start
                        };
                        let (at, stop) = (from.max(place(first)), place(end));
                        if at < stop {
                            let done = inner.table.unmap(at, stop);
                            next = if done < stop { done } else { area_end };
                        }
                    }
                }
                from = next;
            }
            // To the end, also when the task is to end.
            let _ = spans::point();
        }
    }
}
