// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of tasks and processes, and who has them.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use arrayvec::ArrayVec;
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

impl Tables {
    /// Whether a task or process has a number, or, if that is looked for, a group or session.
    fn is_in_use(&self, number: u32, groups_too: bool) -> bool {
        let has = |id: &AtomicU32| id.load(Ordering::Relaxed) == number;
        self.tasks.contains_key(&number)
            || self.processes.contains_key(&number)
            || groups_too && self.processes.values().any(|p| has(&p.group) || has(&p.session))
    }
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
        // A wrap-around is rare; the search through the groups happens only then.
        let in_use = tables.is_in_use(number, FORKS.load(Ordering::Relaxed) > PID_MAX / 2);
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
    TABLES.lock().tasks.insert(task.tid(), Arc::downgrade(task));
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

/// A task has got the number of one that is gone.
pub fn renumber_task(old: u32, task: &Arc<Task>) {
    let mut tables = TABLES.lock();
    tables.tasks.remove(&old);
    tables.tasks.insert(task.tid(), Arc::downgrade(task));
}

/// The process that a number means for kill and the like: its own, or that of one of its threads.
pub fn process_of(number: u32) -> Option<Arc<Process>> {
    process(number).or_else(|| task(number).map(|task| task.process.clone()))
}

/// Forgets a process.
pub fn remove_process(pid: u32) {
    let removed = TABLES.lock().processes.remove(&pid);
    if let Some(process) = removed {
        process.ended.wake_all();
    }
}

/// The task with a number.
#[inline]
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

/// All processes of one moment, by number.
pub fn processes() -> Vec<Arc<Process>> {
    TABLES.lock().processes.values().cloned().collect()
}

/// All processes, by number. What [`Walk`] says of changes meanwhile holds.
pub fn walk() -> Walk {
    Walk { next: 0, group: None, found: ArrayVec::new().into_iter() }
}

/// The processes of a group, by number. What [`Walk`] says of changes meanwhile holds.
pub fn group(group: u32) -> Walk {
    Walk { group: Some(group), ..walk() }
}

/// Processes that are looked at with the table locked.
const LOOKED_AT: usize = 128;
/// Processes that are handed out before the table is locked again.
const HANDED_OUT: usize = 16;

/// Processes by number, with no lock held in between: who has none either can pass preemption points. A child that somebody makes meanwhile
/// has a greater number than its parent, but after a wrap-around, and so comes later.
pub struct Walk {
    next: u32,
    group: Option<u32>,
    found: arrayvec::IntoIter<Arc<Process>, HANDED_OUT>,
}

impl Iterator for Walk {
    type Item = Arc<Process>;

    fn next(&mut self) -> Option<Arc<Process>> {
        loop {
            if let Some(process) = self.found.next() {
                return Some(process);
            }
            let mut found = ArrayVec::new();
            let tables = TABLES.lock();
            let mut last = None;
            for (&pid, process) in tables.processes.range(self.next..).take(LOOKED_AT) {
                last = Some(pid);
                if self.group.is_none_or(|group| process.group.load(Ordering::Relaxed) == group) {
                    found.push(process.clone());
                    if found.is_full() {
                        break;
                    }
                }
            }
            drop(tables);
            self.next = last? + 1;
            self.found = found.into_iter();
        }
    }
}
