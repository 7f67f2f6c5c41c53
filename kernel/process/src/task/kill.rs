// SPDX-License-Identifier: MIT OR Apache-2.0
//! Telling threads and processes to end. They do so at the edge to user mode: see [`super::exit`].

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use super::{Current, Process, Task, process::NOT_ENDING, work};
use crate::sched::{self, wait};

/// Threads that are told at once, with their list locked.
const AT_ONCE: usize = 16;

/// Tells a thread to end; `status` is the process's if it is the last.
pub fn tell_to_exit(task: &Arc<Task>, status: u32) {
    task.exit_status.store(status, Ordering::Release);
    task.work.fetch_or(work::EXIT, Ordering::AcqRel);
    task.work.fetch_and(!work::STOP, Ordering::AcqRel);
    sched::prod(task);
}

/// The running thread is to end before it reaches user mode.
pub fn exit_thread(task: &Current, status: u32) {
    task.exit_status.store(status, Ordering::Release);
    task.work.fetch_or(work::EXIT, Ordering::AcqRel);
}

/// Whether a process as a whole was told to end.
pub fn is_ending(process: &Process) -> bool {
    process.group_exit.load(Ordering::Acquire) != NOT_ENDING
}

/// Ends all threads of a process. Who says so first gives the status.
pub fn kill(process: &Process, status: u32) {
    let _ = process.group_exit.compare_exchange(
        NOT_ENDING,
        u64::from(status),
        Ordering::AcqRel,
        Ordering::Relaxed,
    );
    // However many there are: the first of them to end tells the others, with interrupts let in on the way.
    for thread in process.threads.lock().values().take(AT_ONCE) {
        tell_to_exit(thread, status);
    }
    process.continued.wake_all();
}

/// Tells all other threads of the running process to end, and those that they make meanwhile.
pub fn tell_others_to_exit(task: &Task, status: u32) {
    task.process.each_thread(|thread| {
        if thread.tid() != task.tid() {
            tell_to_exit(thread, status);
        }
    });
}

/// All threads of the running process are to end.
pub fn exit_process(task: &Current, status: u32) {
    kill(&task.process, status);
    exit_thread(task, status);
}

/// Ends all other threads of the running process and waits until they are gone (for exec); false if the process is to end itself, or
/// another of its threads is about to do the same.
pub fn end_other_threads(task: &Current) -> bool {
    let own = &task.process.exec_thread;
    if is_ending(&task.process)
        || own.compare_exchange(0, task.tid(), Ordering::AcqRel, Ordering::Relaxed).is_err()
    {
        return false;
    }
    tell_others_to_exit(task, 0);
    let _ = wait::wait_on(&[&task.process.continued], None, false, || {
        (task.process.threads.lock().len() == 1).then_some(())
    });
    own.store(0, Ordering::Release);
    !task.is_killed()
}
