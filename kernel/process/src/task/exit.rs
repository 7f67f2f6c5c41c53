// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of threads and processes.
//!
//! A thread ends only at the edge to user mode, where nothing of the kernel's is on its stack any more: whoever wants it
//! to end says so ([`super::kill`]) and wakes it.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use super::{
    Current, Process, Status,
    credentials::Which,
    current,
    kill::{is_ending, tell_others_to_exit},
    observer,
    process::NOT_ENDING,
    session, table,
};
use crate::{
    futex, power,
    sched::{self, spans},
    signal::{self, IGNORE, Info, SignalSet, action_flag, code, number},
    user,
};

/// SIGCHLD, or whatever was chosen, about a child that has ended. A parent that does not care for its children never waits for them.
fn tell_parent_of_end(process: &Arc<Process>, status: u32) {
    let Some(parent) = process.parent.lock().upgrade() else { return };
    let signal = process.exit_signal.load(Ordering::Relaxed);
    let action = parent.actions().get(number::SIGCHLD);
    let is_ignored = signal == number::SIGCHLD && action.handler == IGNORE;
    if is_ignored || signal == number::SIGCHLD && action.flags & action_flag::NOCLDWAIT != 0 {
        super::wait::forget(&parent, process);
    }
    if signal::is_valid(signal) && !is_ignored {
        let (code, value) = super::wait::code_and_value(status);
        let mut info = Info::child(process.pid, process.user_id(), code, value);
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

/// Tells those who wait for a thread's end in memory that it shares: joiners, and its parent after vfork. For its end, and for exec.
pub fn release_memory(task: &Current) {
    futex::robust::release_list(task);
    task.robust_list.store(0, Ordering::Relaxed);
    let clear = task.clear_tid.swap(0, Ordering::Relaxed);
    let process = &task.process;
    let shared = process.threads.lock().len() > 1 || Arc::strong_count(&process.memory.lock()) > 1;
    if clear != 0 && shared {
        // The address may be bad; then there is no one to tell.
        let _ = user::write(clear, &0u32);
        futex::wake_address(clear, u32::MAX as usize);
    }
}

/// Children are told when the thread that made them ends, if they want to know. Another thread of the process, if any, is their parent
/// from then on.
fn tell_children(task: &Current) {
    let process = &task.process;
    let heir = process.threads.lock().keys().find(|&&tid| tid != task.tid()).copied();
    process.each_child(|child| {
        if child.parent_thread.load(Ordering::Relaxed) != task.tid() {
            return;
        }
        if let Some(heir) = heir {
            child.parent_thread.store(heir, Ordering::Relaxed);
        }
        let signals = child
            .threads
            .lock()
            .values()
            .fold(0, |all, thread| all | SignalSet::of(thread.death_signal.load(Ordering::Relaxed)).0);
        for signal in (1..=number::LAST).filter(|signal| SignalSet(signals).has(*signal)) {
            child.signal(signal::from_running(signal, code::USER));
        }
    });
}

fn leave() {
    let task = current();
    let process = &task.process;
    if is_ending(process) && !process.all_told.swap(true, Ordering::AcqRel) {
        tell_others_to_exit(&task, process.group_exit.load(Ordering::Acquire) as u32);
    }
    release_memory(&task);
    futex::pi::release_all(&task.arc(), true);
    if let Some(vfork) = task.vfork.lock().take() {
        vfork.complete();
    }
    task.files.leave();
    tell_children(&task);
    table::remove_task(task.tid());
    process.ended_ns.fetch_add(task.cpu_ns(), Ordering::Relaxed);
    process.ended_user_ns.fetch_add(task.user_ns(), Ordering::Relaxed);
    process.ended_account.add(&task.account.get());
    if task.tid() == process.pid {
        // One lock after the other: `Process::name` takes them the other way round.
        let name = *task.name.lock();
        *process.first_name.lock() = Some(name);
    }
    let last = {
        let mut threads = process.threads.lock();
        threads.remove(&task.tid());
        threads.is_empty()
    };
    if last {
        process.last_user.store(task.credentials.id(Which::User), Ordering::Relaxed);
        let status = match process.group_exit.load(Ordering::Acquire) {
            // All ended by themselves: the last one's counts, as on Linux since 5.19.
            NOT_ENDING => task.exit_status.load(Ordering::Acquire),
            status => status as u32,
        };
        end_process(process, status);
        crate::mm::dead_pages::give_back();
    } else {
        signal::has_stopped(&task);
        signal::hand_on(&task, SignalSet(!task.blocked.load(Ordering::Acquire)));
        process.continued.wake_all();
        process.ended.wake_all();
    }
}

/// Who gets the children of a process that ends: the nearest ancestor that asked for them, or the first process.
fn reaper_of(process: &Process) -> Option<Arc<Process>> {
    let mut at = process.parent.lock().upgrade();
    while let Some(ancestor) = at {
        if ancestor.pid == 1 {
            return Some(ancestor);
        }
        if ancestor.is_subreaper.load(Ordering::Relaxed) && !ancestor.has_ended() && !is_ending(&ancestor) {
            return Some(ancestor);
        }
        at = ancestor.parent.lock().upgrade();
    }
    table::process(1)
}

fn give_children_away(process: &Arc<Process>) {
    let children = core::mem::take(&mut *process.children.lock());
    if children.is_empty() {
        return;
    }
    let Some(reaper) = reaper_of(process) else { return };
    for child in children.values() {
        *child.parent.lock() = Arc::downgrade(&reaper);
        child.parent_thread.store(reaper.pid, Ordering::Relaxed);
        // Only who made a child can know another signal to be meant.
        child.exit_signal.store(number::SIGCHLD, Ordering::Relaxed);
        reaper.children.lock().insert(child.pid, child.clone());
        let _ = spans::point();
    }
    let mut last_group = None;
    for child in children.into_values() {
        // A child that ends at the same time has told either of the two.
        let status = *child.status.lock();
        if let Status::Ended(status) = status {
            tell_parent_of_end(&child, status);
        }
        // What is true of a group was so for its next member, too.
        let group = child.group.load(Ordering::Relaxed);
        if last_group.replace(group) != Some(group) {
            session::parted(&child, process, false);
        }
        // It may be the last reference.
        drop(child);
        let _ = spans::point();
    }
    reaper.child_changed.wake_all();
}

fn end_process(process: &Arc<Process>, status: u32) {
    if process.pid == 1 {
        exo_hal::log!("the first program ended with status {status:#x}: switching off");
        power::switch_off();
    }
    process.set_alarm(0, 0);
    process.posix_timers.delete_all();
    observer::tell(|observer| observer.ended(process, status));
    // Unless another process shares them, its places are given up: their mounts are not in use any more.
    if Arc::strong_count(&process.fs) == 1 {
        process.fs.leave();
    }
    let executable = process.executable.lock().take();
    drop(executable);
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
    let parent = process.parent.lock().upgrade();
    session::end_of(process, parent.as_ref());
    drop(parent);
    give_children_away(process);
    *process.status.lock() = Status::Ended(status);
    process.ended.wake_all();
    tell_parent_of_end(process, status);
}
