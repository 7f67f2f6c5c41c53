// SPDX-License-Identifier: MIT OR Apache-2.0
//! An epoll that watches another. None may watch itself, by whatever detour, and how deep they lie in one another is bounded: a change goes
//! through all of them.

use alloc::sync::{Arc, Weak};

use exo_vfs::OpenFile;

use super::{Epoll, of};
use crate::{
    errno::{Errno, Result},
    fallible,
    sched::mutex::{Mutex, MutexGuard},
};

/// Most that lie one in the other below the outermost, as on Linux (`EP_MAX_NESTS`).
const MOST: usize = 4;
/// Most epolls that are looked at, by whatever ways they are reached.
const MOST_LOOKED_AT: usize = 1000;

/// Held while one epoll is entered into another, so that the check holds until that has happened.
static ENTERING: Mutex = Mutex::new();

/// Whether `inner` may be watched by `outer`; ELOOP if not. Nothing else is entered into an epoll as long as the guard is there.
pub(super) fn check(outer: &Arc<OpenFile>, inner: &Arc<OpenFile>) -> Result<MutexGuard<'static>> {
    let guard = ENTERING.lock()?;
    let mut left = MOST_LOOKED_AT;
    let below = depth_below(of(inner)?, Some(outer), &mut left)?;
    let above = depth_above(outer, &mut left)?;
    if Arc::ptr_eq(outer, inner) || above + 1 + below > MOST {
        return Err(Errno::ELOOP);
    }
    let mut outers = of(inner)?.outers.lock();
    outers.retain(|outer| outer.strong_count() > 0);
    fallible::push(&mut outers, Arc::downgrade(outer))?;
    drop(outers);
    Ok(guard)
}

/// How many lie in one another below; ELOOP if `forbidden` is among them.
fn depth_below(epoll: &Epoll, forbidden: Option<&Arc<OpenFile>>, left: &mut usize) -> Result {
    let mut depth = 0;
    for inner in epoll.inner() {
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

/// In how many others it lies.
fn depth_above(file: &Arc<OpenFile>, left: &mut usize) -> Result {
    let mut depth = 0;
    let outers = of(file)?.outers.lock().clone();
    for outer in outers.iter().filter_map(Weak::upgrade) {
        *left = left.checked_sub(1).ok_or(Errno::ELOOP)?;
        // It may have been taken out since.
        if of(&outer)?.inner().iter().any(|inner| Arc::ptr_eq(inner, file)) {
            depth = depth.max(1 + depth_above(&outer, left)?);
        }
        if depth > MOST {
            return Err(Errno::ELOOP);
        }
    }
    Ok(depth)
}
