// SPDX-License-Identifier: MIT OR Apache-2.0
//! Out of memory: somebody has to go, and it is whoever has most.

use exo_hal::log;

use crate::{
    signal::{Info, number},
    task::{current, table},
};

/// Ends the process with the most memory, the first program aside; true if there is one other than the running one, so
/// that the running one may try again once it is gone.
pub fn kill_largest() -> bool {
    let largest = table::processes()
        .into_iter()
        .filter(|p| p.pid != 1 && !p.has_ended())
        .max_by_key(|p| p.memory.lock().clone().resident_pages());
    let Some(victim) = largest else { return false };
    let pages = victim.memory.lock().clone().resident_pages();
    let is_own = victim.pid == current().pid;
    let dying = victim.threads.lock().iter().all(|t| t.is_killed());
    if !dying {
        log!("out of memory: process {} is killed, it has {} KiB", victim.pid, pages * 4);
        victim.signal(Info::kernel(number::SIGKILL));
    }
    !is_own
}
