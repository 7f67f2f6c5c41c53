// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose events are recorded: everybody's, or those of one process and its descendants.
//!
//! Who is followed is kept as a set of numbers. A child is followed if its parent is, from the moment on in which it is made; so
//! descendants stay followed when their parent ends and another process adopts them. A filter can be set for a process
//! that already has descendants: they are found by walking all processes until nobody is added any more, with the set locked. Who is
//! born meanwhile is in the table of processes before its birth is told here, so that either side finds it.

use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use alloc::collections::BTreeSet;

use exo_hal::sync::SpinLock;

use crate::{
    errno::{Errno, Result},
    task::{Process, table},
};

/// One more than the largest number that Linux gives out (`PID_MAX_LIMIT`), and this kernel with it.
const MOST_PROCESSES: i32 = 4 * 1024 * 1024;

/// What the filter was set to.
static NUMBER: AtomicI32 = AtomicI32::new(0);
/// Whether anything is set: without, nobody takes the lock.
static ACTIVE: AtomicBool = AtomicBool::new(false);
static MEMBERS: SpinLock<BTreeSet<u32>> = SpinLock::new(BTreeSet::new());

/// What the filter was set to; 0 for everybody.
pub(super) fn number() -> i32 {
    NUMBER.load(Ordering::Relaxed)
}

/// Follows the process that has this number, or if there is none the next one that gets it, and its descendants; for 0, everybody.
/// The number of a thread means its process.
pub(super) fn set(number: i32) -> Result<()> {
    if !(0..MOST_PROCESSES).contains(&number) {
        return Err(Errno::EINVAL);
    }
    let mut members = MEMBERS.lock();
    members.clear();
    NUMBER.store(number, Ordering::Relaxed);
    ACTIVE.store(number != 0, Ordering::Relaxed);
    if number != 0 {
        let number = number.unsigned_abs();
        let root = table::task(number).map_or(number, |thread| thread.pid);
        // The end of a zombie was told before: nobody would take its number out again, and another process may get that.
        if table::process(root).is_none_or(|process| lives(&process)) {
            members.insert(root);
        }
        add_descendants(&mut members);
    }
    Ok(())
}

fn add_descendants(members: &mut BTreeSet<u32>) {
    let processes = table::processes();
    let mut added = true;
    while added {
        added = false;
        for process in &processes {
            let parent = process.parent.lock().upgrade().map_or(0, |parent| parent.pid);
            if lives(process) && members.contains(&parent) && members.insert(process.pid) {
                added = true;
            }
        }
    }
}

/// One without threads has ended, and its end was told or is waiting for us.
fn lives(process: &Process) -> bool {
    !process.threads.lock().is_empty()
}

/// Whether a process is followed.
pub(super) fn follows(process: &Process) -> bool {
    !ACTIVE.load(Ordering::Relaxed) || MEMBERS.lock().contains(&process.pid)
}

/// Notes that `parent` has made `child`; whether the child is followed.
pub(super) fn on_fork(parent: &Process, child: &Process) -> bool {
    if !ACTIVE.load(Ordering::Relaxed) {
        return true;
    }
    let mut members = MEMBERS.lock();
    if members.contains(&parent.pid) {
        members.insert(child.pid);
    }
    members.contains(&child.pid)
}

/// Notes that a process has ended; whether it was followed. Its number can be another's soon.
pub(super) fn on_exit(process: &Process) -> bool {
    !ACTIVE.load(Ordering::Relaxed) || MEMBERS.lock().remove(&process.pid)
}
