// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors of processes.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use exo_io::pid_fd::{self, PidFd};
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

use super::signals::{self, send_to_thread, told_by_program};
use crate::{
    errno::{Errno, Result},
    fs::OpenFile,
    signal::{self, code},
    task::{Task, current},
    user,
};

/// `PIDFD_SIGNAL_THREAD`, `PIDFD_SIGNAL_THREAD_GROUP` and `PIDFD_SIGNAL_PROCESS_GROUP`.
const TO_THREAD: u32 = 1;
const TO_PROCESS: u32 = 2;
const TO_GROUP: u32 = 4;

pub(super) fn pidfd_open(pid: i32, flags: u32) -> Result {
    if flags & !(abi::O_NONBLOCK | pid_fd::THREAD) != 0 || pid <= 0 {
        return Err(Errno::EINVAL);
    }
    let file = pid_fd::create(pid as u32, flags)?;
    current().files.arc().add(file, true, 0)
}

/// For a thread that is about to be made: a descriptor of the running process for it, whose number is written to `to`.
pub(super) fn enter_new(task: &Arc<Task>, is_thread: bool, to: usize) -> Result<()> {
    let file = pid_fd::for_task(task, if is_thread { pid_fd::THREAD } else { 0 })?;
    let files = current().files.arc();
    let fd = files.add(file, true, 0)? as i32;
    user::write(to, &fd).inspect_err(|_| {
        let _ = files.close(fd);
    })
}

fn send(pid: &PidFd, signal: u32, info: usize, scope: u32) -> Result {
    let number = pid.number();
    let to_group = scope == TO_GROUP;
    let told = match info {
        0 => None,
        address if user::read::<u32>(address)? != signal => return Err(Errno::EINVAL),
        // To no group may a program tell what it likes.
        address => Some(told_by_program(number.filter(|_| !to_group), signal, address)?),
    };
    let own = |code| told.unwrap_or_else(|| signal::from_running(signal, code));
    let process = pid.process()?;
    match scope {
        TO_GROUP => signals::kill_group(number.ok_or(Errno::ESRCH)?, signal, || own(code::USER)),
        TO_PROCESS => signals::send(process, signal, || own(code::USER)).map(|()| 0),
        _ => send_to_thread(Some(process.pid), number.ok_or(Errno::ESRCH)?, signal, || own(code::TKILL)),
    }
}

pub(super) fn pidfd_send_signal(fd: i32, signal: u32, info: usize, flags: u32) -> Result {
    if flags & !(TO_THREAD | TO_PROCESS | TO_GROUP) != 0 || flags.count_ones() > 1 {
        return Err(Errno::EINVAL);
    }
    let file = current().files.get(fd)?;
    let pid = pid_fd::of(&file)?;
    let scope = match flags {
        0 if pid.is_thread() => TO_THREAD,
        0 => TO_PROCESS,
        scope => scope,
    };
    send(pid, signal, info, scope)
}

/// The file behind a descriptor of another process.
fn file_of(pid: &PidFd, fd: i32) -> Result<Arc<OpenFile>> {
    pid.process()?;
    let task = pid.task().ok_or(Errno::ESRCH)?;
    let own = current();
    let is_shown = task.process.dumpable.load(Ordering::Relaxed) == 1;
    let credentials = own.credentials.get();
    let may = task.pid == own.pid
        || credentials.may_look_into(&task.credentials.get())
            && (is_shown || credentials.has(capability::SYS_PTRACE));
    if !may {
        return Err(Errno::EPERM);
    }
    task.files.arc().get(fd)
}

pub(super) fn pidfd_getfd(pidfd: i32, fd: i32, flags: u32) -> Result {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let files = current().files.arc();
    let other = files.get(pidfd)?;
    let file = file_of(pid_fd::of(&other)?, fd)?;
    files.add(file, true, 0)
}
