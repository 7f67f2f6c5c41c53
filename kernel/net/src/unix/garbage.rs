// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets on their way through sockets can hold each other in circles that no program can get at any more. They are found and let go here.
//!
//! A socket that nothing but messages has is a candidate. Of its messages those in candidates are subtracted; what then has a message left is
//! reachable, and so is all that it holds, and what those hold. The rest is garbage: what is in its messages is let go, and with it the
//! sockets themselves.
//!
//! Programs go on meanwhile. A message's files are counted in a table before they are on their way and until they have arrived. If a candidate
//! arrives, a program may read from it what the pass has not seen yet, or has it no more in its list: the pass is void, however reachable that
//! one was. If none does, what candidates hold has only become more, and what was found to be garbage stays it: nobody can take a file out of
//! a message if nobody has the socket that it is in.

use core::{
    ops::Bound,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use alloc::sync::Arc;

use super::in_flight::{Entry, TABLE, Table, holder_of};
use crate::{
    holder::{Cursor, Holder, Key},
    sched::spans,
};

/// What a socket that is closed or sent pays for: that many others are looked at. So a pass is made each time while few are on their way, and
/// when there are many its costs are shared.
const PAID: usize = 64;
/// Entries that are looked at with the table locked.
const SOME: usize = 64;
/// Passes in a row, if programs disturb them.
const TRIES: usize = 3;

/// Entries that others have paid for.
static CREDIT: AtomicUsize = AtomicUsize::new(0);
static RUNNING: AtomicBool = AtomicBool::new(false);
/// Somebody asked for a pass during one.
static AGAIN: AtomicBool = AtomicBool::new(false);

/// Something was closed or sent that may have left a circle behind.
pub(super) fn note() {
    let count = TABLE.lock().entries.len();
    if count == 0 {
        return;
    }
    if CREDIT.fetch_add(PAID, Ordering::Relaxed) + PAID >= count {
        collect();
    }
}

/// Lets go of all circles that are found. If somebody else is at it, he does it once more.
pub(super) fn collect() {
    loop {
        AGAIN.store(true, Ordering::SeqCst);
        if RUNNING.swap(true, Ordering::SeqCst) {
            return;
        }
        while AGAIN.swap(false, Ordering::SeqCst) {
            CREDIT.store(0, Ordering::Relaxed);
            (0..TRIES).any(|_| pass());
        }
        RUNNING.store(false, Ordering::SeqCst);
        if !AGAIN.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// Does something with each entry, the table being locked for some at a time.
fn each(mut with: impl FnMut(Key, &mut Entry)) {
    let mut from = Bound::Unbounded;
    loop {
        let mut last = None;
        {
            let mut table = TABLE.lock();
            for (key, entry) in table.entries.range_mut((from, Bound::Unbounded)).take(SOME) {
                with(*key, entry);
                last = Some(*key);
            }
        }
        let Some(last) = last else { return };
        from = Bound::Excluded(last);
        let _ = spans::point();
    }
}

/// The next entry behind a place of which `is_wanted` holds, and what it holds.
fn next_holder(from: &mut Bound<Key>, is_wanted: impl Fn(&Entry) -> bool) -> Option<Option<Arc<dyn Holder>>> {
    let mut last = None;
    let file = {
        let table = TABLE.lock();
        let found = table.entries.range((*from, Bound::Unbounded)).take(SOME).find(|(key, entry)| {
            last = Some(**key);
            is_wanted(entry)
        });
        found.map(|(_, entry)| entry.file.clone())
    };
    *from = Bound::Excluded(last?);
    let _ = spans::point();
    // What is closed in this moment is found by nobody.
    let file = file.and_then(|file| file.upgrade());
    Some(file.and_then(|file| holder_of(&file)))
}

/// Does something with the entry of each file that is held.
fn each_held(holder: &dyn Holder, mut with: impl FnMut(&mut Table, Key)) {
    let mut cursor = Cursor::default();
    while let Some(keys) = holder.held(&mut cursor) {
        let mut table = TABLE.lock();
        for key in keys {
            with(&mut table, key);
        }
        drop(table);
        let _ = spans::point();
    }
}

fn holder_by_key(key: Key) -> Option<Arc<dyn Holder>> {
    let file = TABLE.lock().entries.get(&key).map(|entry| entry.file.clone());
    let file = file?.upgrade()?;
    holder_of(&file)
}

/// Marks a candidate as reachable, and enters it into the list of those to look through.
fn reach(table: &mut Table, key: Key, list: &mut Option<Key>) {
    if let Some(entry) = table.entries.get_mut(&key).filter(|entry| entry.is_candidate && !entry.is_reachable)
    {
        entry.is_reachable = true;
        entry.next = list.replace(key);
    }
}

fn is_garbage(entry: &Entry) -> bool {
    entry.is_candidate && !entry.is_reachable
}

/// Looks for circles once; false if programs have disturbed it.
fn pass() -> bool {
    TABLE.lock().is_disturbed = false;
    let mut candidates = 0;
    each(|_, entry| {
        entry.is_candidate = entry.file.strong_count() == entry.count;
        entry.outside = entry.count;
        entry.is_reachable = false;
        candidates += usize::from(entry.is_candidate);
    });
    if candidates == 0 {
        return true;
    }
    let mut from = Bound::Unbounded;
    while let Some(holder) = next_holder(&mut from, |entry| entry.is_candidate) {
        if let Some(holder) = holder {
            each_held(&*holder, |table, key| {
                if let Some(entry) = table.entries.get_mut(&key) {
                    entry.outside = entry.outside.saturating_sub(1);
                }
            });
        }
    }
    let mut list = None;
    each(|key, entry| {
        if entry.is_candidate && entry.outside > 0 {
            entry.is_reachable = true;
            entry.next = list.replace(key);
        }
    });
    while let Some(key) = list {
        list = TABLE.lock().entries.get_mut(&key).and_then(|entry| entry.next.take());
        if let Some(holder) = holder_by_key(key) {
            each_held(&*holder, |table, key| reach(table, key, &mut list));
        }
    }
    if TABLE.lock().is_disturbed {
        return false;
    }
    let mut from = Bound::Unbounded;
    while let Some(holder) = next_holder(&mut from, is_garbage) {
        if let Some(holder) = holder {
            holder.let_go();
        }
    }
    true
}
