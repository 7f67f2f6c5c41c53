// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who a process is: numbers, groups, sessions.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use crate::{
    errno::{Errno, Result},
    task::{Process, current, session, table},
};

pub(super) fn getpid() -> Result {
    Ok(current().pid as usize)
}

pub(super) fn gettid() -> Result {
    Ok(current().tid() as usize)
}

pub(super) fn getppid() -> Result {
    Ok(current().process.parent.lock().upgrade().map_or(0, |p| p.pid as usize))
}

fn find(pid: u32) -> Result<Arc<Process>> {
    if pid == 0 { Ok(current().process.clone()) } else { table::process(pid).ok_or(Errno::ESRCH) }
}

pub(super) fn getpgid(pid: u32) -> Result {
    Ok(find(pid)?.group.load(Ordering::Relaxed) as usize)
}

pub(super) fn getpgrp() -> Result {
    getpgid(0)
}

pub(super) fn getsid(pid: u32) -> Result {
    Ok(find(pid)?.session.load(Ordering::Relaxed) as usize)
}

pub(super) fn setpgid(pid: u32, group: u32) -> Result {
    if group > i32::MAX as u32 {
        return Err(Errno::EINVAL);
    }
    let own = current().process.clone();
    let process = match find(pid) {
        // Another thread's number is no process's.
        Err(_) if table::task(pid).is_some() => return Err(Errno::EINVAL),
        found => found?,
    };
    let session = own.session.load(Ordering::Relaxed);
    if !Arc::ptr_eq(&process, &own) {
        if !process.parent.lock().upgrade().is_some_and(|parent| Arc::ptr_eq(&parent, &own)) {
            return Err(Errno::ESRCH);
        }
        if process.session.load(Ordering::Relaxed) != session {
            return Err(Errno::EPERM);
        }
        // A shell moves its child before the child's program can look.
        if process.has_execed.load(Ordering::Acquire) {
            return Err(Errno::EACCES);
        }
    }
    if session::is_leader(&process) {
        return Err(Errno::EPERM);
    }
    let group = if group == 0 { process.pid } else { group };
    let known =
        group == process.pid || table::group(group).any(|p| p.session.load(Ordering::Relaxed) == session);
    if !known {
        return Err(Errno::EPERM);
    }
    process.group.store(group, Ordering::Relaxed);
    Ok(0)
}

pub(super) fn setsid() -> Result {
    let process = current().process.clone();
    if session::is_leader(&process) || table::group(process.pid).next().is_some() {
        return Err(Errno::EPERM);
    }
    process.session.store(process.pid, Ordering::Relaxed);
    process.group.store(process.pid, Ordering::Relaxed);
    process.hung_up_group.store(0, Ordering::Relaxed);
    *process.terminal.lock() = None;
    Ok(process.pid as usize)
}
