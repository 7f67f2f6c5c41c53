// SPDX-License-Identifier: MIT OR Apache-2.0
//! An epoll that watches another. None may watch itself, by whatever detour, and how deep they lie in one another is bounded: a change goes
//! through all of them, with interrupts off. For the same reason each is watched by one other at most; Linux bounds the number of ways that a
//! change may take.

use alloc::sync::Arc;

use exo_vfs::OpenFile;

use super::{Epoll, of};
use crate::{
    errno::{Errno, Result},
    sched::mutex::{Mutex, MutexGuard},
};

/// Most that lie one in the other below the outermost, as on Linux (`EP_MAX_NESTS`).
const MOST: usize = 4;
/// Most epolls that are looked at, by whatever ways they are reached.
const MOST_LOOKED_AT: usize = 1000;

/// Held while one epoll is entered into another, so that the check holds until that has happened.
static ENTERING: Mutex = Mutex::new();

/// Whether `inner` may be watched by `outer`; ELOOP if not, ENOSPC if another one watches it. Nothing else is entered into an epoll as long as the guard is there.
pub(super) fn check(outer: &Arc<OpenFile>, inner: &Arc<OpenFile>) -> Result<MutexGuard<'static>> {
    let guard = ENTERING.lock()?;
    let mut left = MOST_LOOKED_AT;
    let below = depth_below(of(inner)?, Some(outer), &mut left)?;
    let above = depth_above(outer)?;
    if Arc::ptr_eq(outer, inner) || above + 1 + below > MOST {
        return Err(Errno::ELOOP);
    }
    let known = of(inner)?.outer.lock().upgrade();
    if known.is_some_and(|other| !Arc::ptr_eq(&other, outer) && watches(&other, inner)) {
        return Err(Errno::ENOSPC);
    }
    *of(inner)?.outer.lock() = Arc::downgrade(outer);
    Ok(guard)
}

/// How many lie in one another below; ELOOP if `forbidden` is among them.
fn depth_below(epoll: &Epoll, forbidden: Option<&Arc<OpenFile>>, left: &mut usize) -> Result {
    let mut depth = 0;
    for inner in epoll.inner()? {
        *left = left.checked_sub(1).ok_or(Errno::ELOOP)?;
        if forbidden.is_some_and(|forbidden| Arc::ptr_eq(forbidden, &inner)) {
            return Err(Errno::ELOOP);
        }
        depth = depth.max(1 + depth_below(of(&inner)?, forbidden, left)?);
        if depth > MOST {
            return Err(Errno::ELOOP);
        }
    }
    Ok(depth)
}

/// Whether `outer` watches `inner`: who did may do so no more.
fn watches(outer: &OpenFile, inner: &Arc<OpenFile>) -> bool {
    of(outer).is_ok_and(|outer| outer.watches(inner))
}

/// In how many others it lies, one in the other.
fn depth_above(file: &Arc<OpenFile>) -> Result {
    let mut at = file.clone();
    for depth in 0..=MOST {
        let outer = of(&at)?.outer.lock().upgrade();
        match outer.filter(|outer| watches(outer, &at)) {
            Some(outer) => at = outer,
            None => return Ok(depth),
        }
    }
    Err(Errno::ELOOP)
}
