// SPDX-License-Identifier: MIT OR Apache-2.0
//! Epolls that watch others. None may watch itself, by whatever detour; how deep they lie in one another is bounded, and so is by how many ways a
//! change goes outwards: it takes all of them at once, with interrupts off.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_vfs::OpenFile;

use super::{Epoll, of};
use crate::{
    errno::{Errno, Result},
    fallible,
    sched::{
        mutex::{Mutex, MutexGuard},
        spans,
    },
};

/// Most that lie one in the other below the outermost, as on Linux (`EP_MAX_NESTS`).
const MOST: usize = 4;
/// Most ways from an epoll to those outside, however long. A file has as many observers as a queue may have, and behind each are so many.
/// Linux's bounds are higher (`path_limits`), since its interrupts are not off.
const MOST_WAYS: usize = 8;
/// Most epolls that are looked at, by whatever ways they are reached.
const MOST_LOOKED_AT: usize = 1000;

/// Held while one epoll is entered into another, so that the check holds until that has happened.
static ENTERING: Mutex = Mutex::new();

/// The two that are to be one in the other.
struct New<'a> {
    outer: &'a Arc<OpenFile>,
    inner: &'a Arc<OpenFile>,
}

/// Whether `inner` may be watched by `outer`; ELOOP if not, EINVAL if a change would go too many ways. Nothing else is entered into an epoll as
/// long as the guard is there.
pub(super) fn check(outer: &Arc<OpenFile>, inner: &Arc<OpenFile>) -> Result<MutexGuard<'static>> {
    let guard = ENTERING.lock()?;
    let new = New { outer, inner };
    let mut left = MOST_LOOKED_AT;
    let below = new.depth_below(inner, &mut left)?;
    let mut ways = MOST_WAYS;
    if new.depth_above(outer, &mut ways)? + 1 + below > MOST {
        return Err(Errno::ELOOP);
    }
    new.check_ways(inner)?;
    let known = watchers(inner)?;
    let mut all = fallible::list(known.len() + 1)?;
    all.extend(known.iter().map(|(watcher, _)| Arc::downgrade(watcher)));
    if !known.iter().any(|(watcher, _)| Arc::ptr_eq(watcher, outer)) {
        all.push(Arc::downgrade(outer));
    }
    let old = core::mem::replace(&mut *of(inner)?.outer.lock(), all);
    drop(old);
    Ok(guard)
}

/// The epolls that watch one, and by how many descriptors each does.
fn watchers(file: &Arc<OpenFile>) -> Result<Vec<(Arc<OpenFile>, usize)>> {
    let epoll: &Epoll = of(file)?;
    // Not asked for with the list locked; nobody else changes it meanwhile.
    let count = epoll.outer.lock().len();
    let (mut all, mut found) = (fallible::list(count)?, fallible::list(count)?);
    all.extend(epoll.outer.lock().iter().take(count).cloned());
    for outer in all.iter().filter_map(Weak::upgrade) {
        // Who did may do so no more.
        let ways = of(&outer)?.watches(file);
        if ways > 0 {
            found.push((outer, ways));
        }
    }
    Ok(found)
}

impl New<'_> {
    /// How many lie in one another below `at`; ELOOP if the outer one is among them.
    fn depth_below(&self, at: &Arc<OpenFile>, left: &mut usize) -> Result {
        if Arc::ptr_eq(at, self.outer) {
            return Err(Errno::ELOOP);
        }
        // To the end, also when the task is to end.
        let _ = spans::point();
        let mut depth = 0;
        for inner in of(at)?.inner()? {
            *left = left.checked_sub(1).ok_or(Errno::ELOOP)?;
            depth = depth.max(1 + self.depth_below(&inner, left)?);
            if depth > MOST {
                return Err(Errno::ELOOP);
            }
        }
        Ok(depth)
    }

    /// EINVAL if there are too many ways outwards from `at` or one below, which are in no circle: that was looked at before.
    fn check_ways(&self, at: &Arc<OpenFile>) -> Result<()> {
        let mut ways = MOST_WAYS;
        self.depth_above(at, &mut ways)?;
        let _ = spans::point();
        of(at)?.inner()?.iter().try_for_each(|inner| self.check_ways(inner))
    }

    /// In how many others `at` lies one in the other, if the new one was there; each way there is one less of `ways`.
    fn depth_above(&self, at: &Arc<OpenFile>, ways: &mut usize) -> Result {
        let mut depth = 0;
        for (outer, count) in watchers(at)? {
            *ways = ways.checked_sub(count).ok_or(Errno::EINVAL)?;
            depth = depth.max(1 + self.depth_above(&outer, ways)?);
        }
        if Arc::ptr_eq(at, self.inner) {
            *ways = ways.checked_sub(1).ok_or(Errno::EINVAL)?;
            depth = depth.max(1 + self.depth_above(self.outer, ways)?);
        }
        // They are in no circle, and in no more than that: each was let in by this.
        if depth > MOST { Err(Errno::ELOOP) } else { Ok(depth) }
    }
}
