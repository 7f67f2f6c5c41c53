// SPDX-License-Identifier: MIT OR Apache-2.0
//! Robust futexes: the list of locks that a thread has, which are released if it ends.

use core::sync::atomic::Ordering;

use super::{OWNER, OWNER_DIED, WAITERS, wake_address};
use crate::{task::Current, user};

/// Entries that are looked at; the list is the program's and may be a circle.
const LIMIT: usize = 2048;
/// Set in an entry's address if the lock inherits priorities: it is passed on by [`super::pi::release_all`].
const IS_PI: usize = 1;

/// Releases one lock; `is_pending` if the thread ended while it locked or unlocked it.
fn release(entry: usize, offset: usize, tid: u32, is_pending: bool) {
    let address = (entry & !IS_PI).wrapping_add(offset);
    let inherits = entry & IS_PI != 0;
    let Ok(mut old) = user::load_u32(address) else { return };
    if is_pending && !inherits && old == 0 {
        // It had unlocked it and had not woken anybody yet.
        wake_address(address, 1);
    }
    while old & OWNER == tid {
        match user::compare_exchange_u32(address, old, old & WAITERS | OWNER_DIED) {
            Ok(seen) if seen == old => {
                if old & WAITERS != 0 && !inherits {
                    wake_address(address, 1);
                }
                return;
            }
            Ok(seen) => old = seen,
            Err(_) => return,
        }
    }
}

/// Releases the robust futexes of a thread that ends: `struct robust_list_head` is (list, offset, pending).
pub fn release_list(task: &Current) {
    let head = task.robust_list.load(Ordering::Relaxed);
    if head == 0 {
        return;
    }
    let Ok([first, offset, pending]) = user::read::<[usize; 3]>(head) else { return };
    let mut entry = first;
    for _ in 0..LIMIT {
        if entry & !IS_PI == head {
            break;
        }
        let Ok(next) = user::read::<usize>(entry & !IS_PI) else { break };
        if entry & !IS_PI != pending & !IS_PI {
            release(entry, offset, task.tid(), false);
        }
        entry = next;
        // The thread ends anyway.
        let _ = crate::sched::spans::point();
    }
    if pending != 0 {
        release(pending, offset, task.tid(), true);
    }
}
