// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sessions and process groups beyond their numbers: orphaned groups, and the end of a session's leader.
//!
//! A group is orphaned when none of its members has a parent in another group of the same session: no shell is left that could
//! continue it. Such a group is not stopped by a terminal, and when it becomes orphaned while stopped, it is hung up and continued.

use core::{ptr, sync::atomic::Ordering};

use alloc::sync::Arc;

use super::{Process, controlling_tty::ControllingTty, table};
use crate::{
    sched::spans,
    signal::{Info, number, stop},
};

fn group_of(process: &Process) -> u32 {
    process.group.load(Ordering::Relaxed)
}

fn session_of(process: &Process) -> u32 {
    process.session.load(Ordering::Relaxed)
}

/// Whether `parent` connects `child` with the rest of its session.
fn connects(parent: &Process, child: &Process) -> bool {
    group_of(parent) != group_of(child) && session_of(parent) == session_of(child)
}

/// The members of a group; interrupts and other tasks are let in on the way, so nothing may be locked.
fn members(group: u32) -> impl Iterator<Item = Arc<Process>> {
    table::group(group).inspect(|_| {
        // To the end, also when the task is to end.
        let _ = spans::point();
    })
}

fn is_orphaned_without(group: u32, except: Option<&Process>) -> bool {
    !members(group).any(|member| {
        let counts = !except.is_some_and(|except| core::ptr::eq(except, &*member)) && !member.has_ended();
        let parent = member.parent.lock().upgrade();
        counts && parent.is_some_and(|parent| parent.pid != 1 && connects(&parent, &member))
    })
}

/// Whether a process's group is orphaned.
pub fn is_orphaned(process: &Process) -> bool {
    is_orphaned_without(group_of(process), None)
}

fn hang_up(group: u32) {
    for member in members(group) {
        member.signal(Info::kernel(number::SIGHUP));
        member.signal(Info::kernel(number::SIGCONT));
    }
}

/// `process` and `parent` part, because the one ends (`is_ending`) or has another parent now: its group, if stopped and orphaned by that,
/// is hung up and continued.
pub fn parted(process: &Arc<Process>, parent: &Process, is_ending: bool) {
    let except = is_ending.then_some(&**process);
    let group = group_of(process);
    if connects(parent, process)
        && is_orphaned_without(group, except)
        && members(group).any(|member| stop::is_stopped(&member))
    {
        hang_up(group);
    }
}

/// The leader of a session ends, or gives its terminal up: those in the foreground are hung up, and nobody of the session has the
/// terminal any more.
pub fn give_up_terminal(process: &Process, terminal: &dyn ControllingTty) {
    let foreground = terminal.foreground();
    // Who hears of it finds that it is so.
    take_terminal(session_of(process), terminal);
    if foreground != 0 {
        hang_up(foreground);
    }
}

/// Nobody of a session has the terminal any more.
pub fn take_terminal(session: u32, terminal: &dyn ControllingTty) {
    terminal.release(session);
    for member in table::walk().filter(|p| session_of(p) == session) {
        let _ = spans::point();
        let mut slot = member.terminal.lock();
        if slot.as_ref().is_some_and(|own| ptr::addr_eq(Arc::as_ptr(own), terminal)) {
            *slot = None;
        }
    }
}

/// The terminal of a session is gone: its leader is hung up, and those in the foreground when the leader ends.
pub fn hang_up_session(session: u32, terminal: &dyn ControllingTty) {
    let leader = table::process(session).filter(|process| is_leader(process));
    if let Some(leader) = &leader {
        // A leader that ends meanwhile has the terminal still, or finds this.
        leader.hung_up_group.store(terminal.foreground(), Ordering::Release);
    }
    take_terminal(session, terminal);
    if let Some(leader) = leader {
        leader.signal(Info::kernel(number::SIGHUP));
        leader.signal(Info::kernel(number::SIGCONT));
    }
}

/// Whether a process leads its session.
pub fn is_leader(process: &Process) -> bool {
    session_of(process) == process.pid
}

/// What the end of a process means for its session.
pub fn end_of(process: &Arc<Process>, parent: Option<&Arc<Process>>) {
    let terminal = process.terminal.lock().clone();
    if let Some(terminal) = terminal.filter(|_| is_leader(process)) {
        give_up_terminal(process, &*terminal);
    }
    let hung_up = process.hung_up_group.load(Ordering::Acquire);
    if hung_up != 0 {
        hang_up(hung_up);
    }
    if let Some(parent) = parent {
        parted(process, parent, true);
    }
}
