// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of threads and processes.
//!
//! A thread ends only at the edge to user mode, where nothing of the kernel's is on its stack any more: whoever wants it
//! to end sets [`work::EXIT`] and wakes it.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use exo_hal::power::{self, Exit};

use super::{Current, Process, Status, Task, current, table, work};
use crate::{
    drivers::{self, procmon},
    futex, sched,
    signal::{Info, action_flag, code, number},
    user,
};

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

/// All threads of the running process are to end.
pub fn exit_process(task: &Current, status: u32) {
    for thread in task.process.threads.lock().iter() {
        tell_to_exit(thread, status);
    }
    exit_thread(task, status);
    task.process.continued.wake_all();
}

/// Ends all other threads of the running process and waits until they are gone (for exec).
pub fn end_other_threads(task: &Current) {
    loop {
        let mut others = 0;
        for thread in task.process.threads.lock().iter().filter(|t| t.tid != task.tid) {
            others += 1;
            if !thread.is_killed() {
                tell_to_exit(thread, 0);
            }
        }
        if others == 0 {
            return;
        }
        let _ = crate::sched::wait::wait_on(&[&task.process.continued], None, false, || {
            (task.process.threads.lock().len() == 1).then_some(())
        });
        if task.is_killed() {
            return;
        }
    }
}

/// Sends SIGCHLD and wakes a waiting parent.
pub fn tell_parent(process: &Process, code: i32, status: u32) {
    let Some(parent) = process.parent.lock().upgrade() else { return };
    let action = parent.actions.get(number::SIGCHLD);
    let stop = code == code::CLD_STOPPED || code == code::CLD_CONTINUED;
    let signal = if stop { number::SIGCHLD } else { process.exit_signal.load(Ordering::Relaxed) };
    if signal != 0 && !(stop && action.flags & action_flag::NOCLDSTOP != 0) {
        let mut info = Info::child(process.pid, code, status);
        info.signal = signal as i32;
        parent.signal(info);
    }
    parent.child_changed.wake_all();
}

/// Ends the running thread. Called at the edge to user mode with nothing on the stack that must be dropped.
pub fn exit_current() -> ! {
    leave();
    sched::end_current()
}

fn leave() {
    let task = current();
    let process = &task.process;
    futex::release_robust_list(&task);
    let clear = task.clear_tid.load(Ordering::Relaxed);
    let shared = process.threads.lock().len() > 1 || Arc::strong_count(&process.memory.lock()) > 1;
    if clear != 0 && shared {
        // The address may be bad; then there is no one to tell.
        let _ = user::write(clear, &0u32);
        futex::wake_address(clear, u32::MAX as usize);
    }
    if let Some(vfork) = task.vfork.lock().take() {
        vfork.complete();
    }
    task.files.leave();
    table::remove_task(task.tid);
    process.ended_ns.fetch_add(task.cpu_ns(), Ordering::Relaxed);
    if task.tid == process.pid {
        *process.first_name.lock() = Some(*task.name.lock());
    }
    let last = {
        let mut threads = process.threads.lock();
        threads.retain(|t| t.tid != task.tid);
        threads.is_empty()
    };
    if last {
        end_process(process, task.exit_status.load(Ordering::Acquire));
    } else {
        process.continued.wake_all();
    }
}

fn end_process(process: &Arc<Process>, status: u32) {
    if process.pid == 1 {
        exo_hal::log!("the first program ended with status {status:#x}: switching off");
        drivers::stop();
        power::power_off(Exit::PowerOff);
    }
    process.set_alarm(0, 0);
    procmon::on_exit(process, status);
    // The page table goes when the CPU has switched to another; until then it is the one that is loaded.
    let memory = core::mem::replace(&mut *process.memory.lock(), crate::mm::AddressSpace::none());
    {
        let mut usage = process.children_usage.lock();
        usage.peak_pages = usage.peak_pages.max(memory.resident_pages());
    }
    if Arc::strong_count(&memory) == 1 {
        // Who has waited for this process may count on its memory.
        memory.clear();
    }
    drop(memory);
    let children = core::mem::take(&mut *process.children.lock());
    if !children.is_empty() {
        if let Some(init) = table::process(1) {
            for child in &children {
                *child.parent.lock() = Arc::downgrade(&init);
                // Only who made a child can know another signal to be meant.
                child.exit_signal.store(number::SIGCHLD, Ordering::Relaxed);
            }
            init.children.lock().extend(children);
            init.child_changed.wake_all();
        }
    }
    let parent = process.parent.lock().upgrade();
    *process.status.lock() = Status::Ended(status);
    let (code, value) = match status & 0x7f {
        0 => (code::CLD_EXITED, (status >> 8) & 0xff),
        signal => (code::CLD_KILLED, signal),
    };
    tell_parent(process, code, value);
    // A parent that does not care for its children never waits for them.
    if let Some(parent) = parent {
        let action = parent.actions.get(number::SIGCHLD);
        if action.handler == 1 || action.flags & action_flag::NOCLDWAIT != 0 {
            super::wait::reap(&parent, process);
        }
    }
}
