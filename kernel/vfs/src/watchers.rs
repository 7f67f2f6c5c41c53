// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who watches inodes. What there is to hear is said by [`notify`](crate::notify).

use core::{
    ptr,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use exo_hal::sync::SpinLock;

use crate::errno::{Errno, Result};

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
pub struct Happening<'a> {
    /// `IN_` bits.
    pub bits: u32,
    /// The same for both names of a move; 0 else.
    pub cookie: u32,
    /// Of what is in the directory that is watched.
    pub name: Option<&'a [u8]>,
    /// The name was removed already.
    pub is_unlinked: bool,
}

/// Who watches an inode.
pub trait Watcher: Send + Sync {
    /// Something has happened. Called with locks held that are not known here; false if it watches no more.
    fn happened(&self, what: &Happening<'_>) -> bool;

    /// The inode is no more: it was removed (IN_DELETE_SELF), its file system is gone (IN_UNMOUNT), or it was one that is made when it is
    /// looked up (0).
    fn ended(&self, bits: u32);
}

/// Those who watch the same inode: they are told with interrupts off.
const MOST: usize = 128;

/// Watchers by the address of their inode's count.
static WATCHERS: SpinLock<BTreeMap<usize, Vec<Arc<dyn Watcher>>>> = SpinLock::new(BTreeMap::new());
/// Inodes that are watched.
static WATCHED: AtomicUsize = AtomicUsize::new(0);

/// How many watch an inode; a part of that.
#[derive(Default)]
pub(crate) struct Count(AtomicU32);

impl Count {
    /// Whether nobody does.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn set(&self, count: usize) {
        self.0.store(count as u32, Ordering::Relaxed);
    }
}

/// What the watchers of an inode are found by.
fn key(count: &Count) -> usize {
    ptr::from_ref(count).addr()
}

/// Lets `watcher` hear of what happens to the inode that `count` is part of, until it says that it watches no more, or [`remove`].
///
/// # Errors
/// ENOSPC if too many watch it, ENOMEM.
pub(crate) fn add(count: &Count, watcher: Arc<dyn Watcher>) -> Result<()> {
    let mut watchers = WATCHERS.lock();
    let list = watchers.entry(key(count)).or_default();
    if list.len() >= MOST {
        return Err(Errno::ENOSPC);
    }
    let room = list.try_reserve(1);
    if room.is_ok() {
        list.push(watcher);
        count.set(list.len());
    } else if list.is_empty() {
        watchers.remove(&key(count));
    }
    WATCHED.store(watchers.len(), Ordering::Relaxed);
    room.map_err(|_| Errno::ENOMEM)
}

/// `watcher` wants to hear nothing of it any more.
pub(crate) fn remove(count: &Count, watcher: *const dyn Watcher) {
    retain(count, |known| !ptr::addr_eq(Arc::as_ptr(known), watcher));
}

/// Keeps some of the watchers of an inode.
fn retain(count: &Count, keep: impl FnMut(&Arc<dyn Watcher>) -> bool) {
    let mut watchers = WATCHERS.lock();
    let Some(list) = watchers.get_mut(&key(count)) else { return };
    list.retain(keep);
    count.set(list.len());
    if list.is_empty() {
        watchers.remove(&key(count));
        WATCHED.store(watchers.len(), Ordering::Relaxed);
    }
}

/// Tells those who watch an inode.
pub(crate) fn tell(count: &Count, what: &Happening<'_>) {
    if !count.is_none() {
        retain(count, |watcher| watcher.happened(what));
    }
}

/// Tells them that it is no more; `bits` as in [`Watcher::ended`].
#[cold]
pub(crate) fn end(count: &Count, bits: u32) {
    let gone = {
        let mut watchers = WATCHERS.lock();
        let gone = watchers.remove(&key(count));
        WATCHED.store(watchers.len(), Ordering::Relaxed);
        gone
    };
    for watcher in gone.into_iter().flatten() {
        watcher.ended(bits);
    }
}

/// Whether anything is watched.
#[inline(always)]
pub(crate) fn is_any_watched() -> bool {
    WATCHED.load(Ordering::Relaxed) > 0
}
