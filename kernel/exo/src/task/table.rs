// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of tasks and processes, and who has them.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::sync::SpinLock;

use super::{Process, Task};

/// The largest number, as on Linux.
pub const PID_MAX: u32 = 1 << 22;

#[derive(Default)]
struct Tables {
    tasks: BTreeMap<u32, Weak<Task>>,
    processes: BTreeMap<u32, Arc<Process>>,
    last: u32,
}

static TABLES: SpinLock<Tables> =
    SpinLock::new(Tables { tasks: BTreeMap::new(), processes: BTreeMap::new(), last: 0 });
/// Forks since boot.
pub static FORKS: AtomicU32 = AtomicU32::new(0);
/// Threads that exist.
pub static TASKS: AtomicUsize = AtomicUsize::new(0);

/// A number that neither a task nor a process nor a process group uses.
pub fn new_number() -> Option<u32> {
    let mut tables = TABLES.lock();
    for _ in 0..PID_MAX {
        tables.last = if tables.last >= PID_MAX { 300 } else { tables.last + 1 };
        let number = tables.last;
        let in_use = tables.tasks.contains_key(&number)
            || tables.processes.contains_key(&number)
            // A wrap-around is rare; the search through the groups happens only then.
            || FORKS.load(Ordering::Relaxed) > PID_MAX / 2
                && tables.processes.values().any(|p| {
                    p.group.load(Ordering::Relaxed) == number || p.session.load(Ordering::Relaxed) == number
                });
        if !in_use {
            return Some(number);
        }
    }
    None
}

/// The number that was given last.
pub fn last_number() -> u32 {
    TABLES.lock().last
}

/// Enters a task.
pub fn add_task(task: &Arc<Task>) {
    TASKS.fetch_add(1, Ordering::Relaxed);
    FORKS.fetch_add(1, Ordering::Relaxed);
    TABLES.lock().tasks.insert(task.tid, Arc::downgrade(task));
}

/// Enters a process.
pub fn add_process(process: &Arc<Process>) {
    TABLES.lock().processes.insert(process.pid, process.clone());
}

/// Forgets a task.
pub fn remove_task(tid: u32) {
    TASKS.fetch_sub(1, Ordering::Relaxed);
    TABLES.lock().tasks.remove(&tid);
}

/// Forgets a process.
pub fn remove_process(pid: u32) {
    let removed = TABLES.lock().processes.remove(&pid);
    drop(removed);
}

/// The task with a number.
pub fn task(tid: u32) -> Option<Arc<Task>> {
    TABLES.lock().tasks.get(&tid).and_then(Weak::upgrade)
}

/// The process with a number.
pub fn process(pid: u32) -> Option<Arc<Process>> {
    TABLES.lock().processes.get(&pid).cloned()
}

/// The process with the lowest number from `pid` on.
pub fn process_from(pid: u32) -> Option<Arc<Process>> {
    TABLES.lock().processes.range(pid..).next().map(|(_, process)| process.clone())
}

/// All processes, by number.
pub fn processes() -> Vec<Arc<Process>> {
    TABLES.lock().processes.values().cloned().collect()
}

/// The processes of a group.
pub fn group(group: u32) -> Vec<Arc<Process>> {
    let tables = TABLES.lock();
    tables.processes.values().filter(|p| p.group.load(Ordering::Relaxed) == group).cloned().collect()
}
