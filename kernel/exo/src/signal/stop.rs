// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stop and continue. A process is stopped when each of its threads has come to the edge to user mode and waits there; its parent is
//! told then. A SIGCONT ends that, also one that comes between a stop signal's delivery and the stop.

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::sync::Arc;

use super::{STOPPING, code, number};
use crate::{
    sched::{self, wait},
    task::{Process, Status, Task, exit, work},
};

/// How far a process is with stopping.
#[derive(Debug, Default)]
pub struct Stop {
    /// The signal that stops it; 0 while it runs.
    signal: u32,
    /// Threads that have still to stop.
    left: usize,
    /// SIGCONTs that it has been sent.
    continues: u32,
}

/// A thread's part in the stop of its process: whether the others still wait for it.
#[derive(Debug, Default)]
pub struct Owed(AtomicBool);

/// The number of SIGCONTs that a process has had, to be handed to [`begin`].
pub fn continues(process: &Process) -> u32 {
    process.stop.lock().continues
}

/// Begins to stop a process, unless it has been continued since `seen` SIGCONTs.
pub fn begin(process: &Process, signal: u32, seen: u32) {
    let mut stop = process.stop.lock();
    if stop.continues != seen || stop.signal != 0 || exit::is_ending(process) {
        return;
    }
    stop.signal = signal;
    for task in process.threads.lock().values() {
        join(task, &mut stop);
        sched::prod(task);
    }
}

fn join(task: &Task, stop: &mut Stop) {
    stop.left += 1;
    task.stop_owed.0.store(true, Ordering::Release);
    task.work.fetch_or(work::STOP, Ordering::AcqRel);
}

/// Enters a new thread into its process; it stops with the others.
pub fn add_thread(process: &Process, task: &Arc<Task>) {
    let mut stop = process.stop.lock();
    process.threads.lock().insert(task.tid(), task.clone());
    if stop.signal != 0 {
        join(task, &mut stop);
    }
}

/// The thread has stopped, or ends instead.
pub fn arrive(task: &Task) {
    if !task.stop_owed.0.load(Ordering::Acquire) {
        return;
    }
    let process = &task.process;
    let signal = {
        let mut stop = process.stop.lock();
        if !task.stop_owed.0.swap(false, Ordering::AcqRel) {
            return;
        }
        stop.left = stop.left.saturating_sub(1);
        if stop.left > 0 || stop.signal == 0 || exit::is_ending(process) {
            return;
        }
        *process.status.lock() = Status::Stopped { signal: stop.signal, told: false };
        stop.signal
    };
    exit::tell_parent(process, code::CLD_STOPPED, signal);
}

/// Waits at the edge to user mode until the process goes on.
pub fn wait_until_continued(task: &Task) {
    let is_stopped = || task.work.load(Ordering::Acquire) & work::STOP != 0;
    while is_stopped() && !task.is_killed() {
        arrive(task);
        // A stop that follows at once finds the thread here, and has to be told so.
        let changed = || (!is_stopped() || task.stop_owed.0.load(Ordering::Acquire)).then_some(());
        let _ = wait::wait_on(&[&task.process.continued], None, false, changed);
    }
}

/// A SIGCONT has been sent: the process goes on, whatever becomes of the signal.
pub fn end(process: &Process) {
    process.pending.lock().remove(STOPPING);
    for task in process.threads.lock().values() {
        task.pending.lock().remove(STOPPING);
    }
    let (was_stopping, was_stopped) = {
        let mut stop = process.stop.lock();
        let was_stopping = core::mem::take(&mut stop.signal);
        stop.left = 0;
        stop.continues = stop.continues.wrapping_add(1);
        for task in process.threads.lock().values() {
            task.stop_owed.0.store(false, Ordering::Release);
            task.work.fetch_and(!work::STOP, Ordering::AcqRel);
        }
        let mut status = process.status.lock();
        let was_stopped = matches!(*status, Status::Stopped { .. });
        if was_stopped {
            *status = Status::Continued;
        }
        (was_stopping, was_stopped)
    };
    process.continued.wake_all();
    if was_stopped {
        exit::tell_parent(process, code::CLD_CONTINUED, number::SIGCONT);
    } else if was_stopping != 0 {
        exit::tell_parent(process, code::CLD_STOPPED, was_stopping);
    }
}

/// Whether a process is stopped.
pub fn is_stopped(process: &Arc<Process>) -> bool {
    matches!(*process.status.lock(), Status::Stopped { .. })
}
