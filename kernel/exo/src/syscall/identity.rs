// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who a process is: numbers, groups, sessions. There is one user: root.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use crate::{
    errno::{Errno, Result},
    task::{Process, current, table},
    user,
};

pub(super) fn getpid() -> Result {
    Ok(current().pid as usize)
}

pub(super) fn gettid() -> Result {
    Ok(current().tid as usize)
}

pub(super) fn getppid() -> Result {
    Ok(current().process.parent.lock().upgrade().map_or(0, |p| p.pid as usize))
}

/// User and group numbers are always 0.
pub(super) fn root() -> Result {
    Ok(0)
}

pub(super) fn set_id(id: u32) -> Result {
    // Other users have no meaning here; a program that wants to become one must know that it did not.
    if id == 0 || id == u32::MAX { Ok(0) } else { Err(Errno::EINVAL) }
}

pub(super) fn getres(real: usize, effective: usize, saved: usize) -> Result {
    for address in [real, effective, saved] {
        user::write(address, &0u32)?;
    }
    Ok(0)
}

/// Nobody is in a group besides the first.
pub(super) fn getgroups(count: i32, _to: usize) -> Result {
    if count < 0 { Err(Errno::EINVAL) } else { Ok(0) }
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
    let process = find(pid)?;
    let session = own.session.load(Ordering::Relaxed);
    let is_child = process.parent.lock().upgrade().is_some_and(|p| Arc::ptr_eq(&p, &own));
    if !Arc::ptr_eq(&process, &own) && !is_child {
        return Err(Errno::ESRCH);
    }
    if process.session.load(Ordering::Relaxed) != session || session == process.pid {
        return Err(Errno::EPERM);
    }
    let group = if group == 0 { process.pid } else { group };
    let known = group == process.pid
        || table::group(group).iter().any(|p| p.session.load(Ordering::Relaxed) == session);
    if !known {
        return Err(Errno::EPERM);
    }
    process.group.store(group, Ordering::Relaxed);
    Ok(0)
}

pub(super) fn setsid() -> Result {
    let process = current().process.clone();
    if process.group.load(Ordering::Relaxed) == process.pid || !table::group(process.pid).is_empty() {
        return Err(Errno::EPERM);
    }
    process.session.store(process.pid, Ordering::Relaxed);
    process.group.store(process.pid, Ordering::Relaxed);
    *process.terminal.lock() = None;
    Ok(process.pid as usize)
}
