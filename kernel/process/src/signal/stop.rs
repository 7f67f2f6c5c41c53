// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stop and continue. A process is stopped when each of its threads has come to the edge to user mode and waits there; its parent is
//! told then. A SIGCONT ends that, also one that comes between a stop signal's delivery and the stop.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use super::{code, number, set::STOPPING, stop_state::Stop};
use crate::{
    sched,
    task::{Process, Status, Task, kill, work},
};

/// What a parent is told: CLD_STOPPED or CLD_CONTINUED, and the signal that did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the parent is to be told"]
pub struct Change {
    /// si_code.
    pub code: i32,
    /// si_status.
    pub signal: u32,
}

/// The number of SIGCONTs that a process has had, to be handed to [`begin`].
pub fn continues(process: &Process) -> u32 {
    process.stop.lock().continues
}

/// Begins to stop a process, unless it has been continued since `seen` SIGCONTs.
pub fn begin(process: &Process, signal: u32, seen: u32) {
    let mut stop = process.stop.lock();
    if stop.continues != seen || stop.signal != 0 || kill::is_ending(process) {
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

/// The thread has stopped, or ends instead. With the last one its process has stopped.
pub(super) fn arrive(task: &Task) -> Option<Change> {
    if !task.stop_owed.0.load(Ordering::Acquire) {
        return None;
    }
    let process = &task.process;
    let mut stop = process.stop.lock();
    if !task.stop_owed.0.swap(false, Ordering::AcqRel) {
        return None;
    }
    stop.left = stop.left.saturating_sub(1);
    if stop.left > 0 || stop.signal == 0 || kill::is_ending(process) {
        return None;
    }
    *process.status.lock() = Status::Stopped { signal: stop.signal, told: false };
    Some(Change { code: code::CLD_STOPPED, signal: stop.signal })
}

/// A SIGCONT has been sent: the process goes on, whatever becomes of the signal.
pub(super) fn end(process: &Process) -> Option<Change> {
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
        Some(Change { code: code::CLD_CONTINUED, signal: number::SIGCONT })
    } else if was_stopping != 0 {
        Some(Change { code: code::CLD_STOPPED, signal: was_stopping })
    } else {
        None
    }
}

/// Whether a process is stopped.
pub fn is_stopped(process: &Arc<Process>) -> bool {
    matches!(*process.status.lock(), Status::Stopped { .. })
}
