// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which names of file systems that are not in memory are kept: those that were looked up last, found or not. The names themselves are in
//! the [`Dentry`]s of their directories; here is only the order in which they go.
//!
//! A look-up notes that a name is used and takes no lock for it. When there are too many, the oldest that was not used since it was last
//! looked at goes. What somebody uses, or what has known names below it, stays.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use exo_hal::{mm::frame, sync::SpinLock};
use exo_logic::name::Name;

use super::{Dentry, children::Fate};
use crate::{fallible::LEFT_FOR_FAULTS, sched::spans};

/// Most names that are kept while nobody uses them: with their inodes about ten megabytes.
pub const MOST: usize = 16 * 1024;
/// So many are looked at for each name that comes in while there are too many.
const LOOKS: usize = 16;
/// So many go at once where memory is short.
const SHORT_OF_MEMORY: usize = 32;

/// A name that is kept.
struct Entry {
    directory: Weak<Dentry>,
    name: Name<'static>,
}

/// By number: the one that goes first is first.
static ENTRIES: SpinLock<BTreeMap<u64, Entry>> = SpinLock::new(BTreeMap::new());
static LAST: AtomicU64 = AtomicU64::new(0);

/// A number that no entry has had.
pub(super) fn next_number() -> u64 {
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Notes that a directory has begun to keep a name, as its number `number`. Others go if there are too many. Nothing is locked here.
pub(super) fn remember(directory: &Arc<Dentry>, name: &[u8], number: u64) {
    let entry = Entry { directory: Arc::downgrade(directory), name: Name::new(name).into_owned() };
    let count = {
        let mut entries = ENTRIES.lock();
        entries.insert(number, entry);
        entries.len()
    };
    if count > MOST {
        give_back_some(count - MOST, LOOKS);
    } else if !frame::available(LEFT_FOR_FAULTS) {
        give_back_some(SHORT_OF_MEMORY, SHORT_OF_MEMORY);
    }
}

/// Notes that a name is not kept any more.
pub(super) fn forget(number: u64) {
    let gone = ENTRIES.lock().remove(&number);
    drop(gone);
}

/// How many names are kept.
pub fn count() -> usize {
    ENTRIES.lock().len()
}

/// Lets go of names that nobody uses, up to `most` of them, because memory is short: how many went. Nothing is locked here.
pub fn give_back(most: usize) -> usize {
    /// So many are looked at before others may run.
    const PART: usize = 64;
    let mut gone = 0;
    // Twice each: the first look at a name that was used only notes that.
    for _ in 0..(2 * count()).div_ceil(PART) {
        gone += give_back_some(most - gone, PART);
        if gone == most || spans::point() {
            break;
        }
    }
    gone
}

fn give_back_some(most: usize, looks: usize) -> usize {
    let mut gone = 0;
    for _ in 0..looks {
        if gone == most {
            break;
        }
        let Some((number, entry)) = ENTRIES.lock().pop_first() else { break };
        let fate = match entry.directory.upgrade() {
            Some(directory) => directory.children.lock().let_go(&entry.name, number),
            None => Fate::Gone(None),
        };
        match fate {
            Fate::Stays(number) => drop(ENTRIES.lock().insert(number, entry)),
            // What it was is dropped here, with nothing locked.
            Fate::Gone(_) => gone += 1,
        }
    }
    gone
}
