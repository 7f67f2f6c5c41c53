// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors: close, dup, ioctl, pipe, unshare.

use alloc::sync::Arc;

use exo_logic::credentials::capability;
use linux_raw_sys::{general as abi, ioctl as requests};

use crate::{
    errno::{Errno, Result},
    fs::{OpenFile, inode::kind, pipe::end::new_pair},
    task::{credentials::capable, current},
    user,
};

pub(super) fn close(fd: i32) -> Result {
    current().files.close(fd).map(|()| 0)
}

pub(super) fn dup(fd: i32) -> Result {
    let files = &current().files.arc();
    files.add(files.get(fd)?, false, 0)
}

pub(super) fn dup2(old: i32, new: i32) -> Result {
    if old == new {
        current().files.get(old)?;
        return Ok(new as usize);
    }
    dup3(old, new, 0)
}

pub(super) fn dup3(old: i32, new: i32, flags: u32) -> Result {
    if old == new || flags & !abi::O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let files = &current().files.arc();
    files.replace(new, files.get(old)?, flags & abi::O_CLOEXEC != 0)
}

pub(super) fn pipe(to: usize) -> Result {
    pipe2(to, 0)
}

pub(super) fn pipe2(to: usize, flags: u32) -> Result {
    if flags & !(abi::O_CLOEXEC | abi::O_NONBLOCK | abi::O_DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    let close_on_exec = flags & abi::O_CLOEXEC != 0;
    let (read, write) = new_pair(flags & (abi::O_NONBLOCK | abi::O_DIRECT))?;
    give_two([read, write], close_on_exec, to)
}

/// Enters two files, and tells the program their descriptors: both or none.
pub(super) fn give_two([first, second]: [Arc<OpenFile>; 2], close_on_exec: bool, to: usize) -> Result {
    let files = &current().files.arc();
    let first = files.add(first, close_on_exec, 0)?;
    let second = match files.add(second, close_on_exec, 0) {
        Ok(second) => second,
        Err(error) => {
            files.close(first as i32)?;
            return Err(error);
        }
    };
    if let Err(error) = user::write(to, &[first as i32, second as i32]) {
        files.close(first as i32)?;
        files.close(second as i32)?;
        return Err(error);
    }
    Ok(0)
}

pub(super) fn ioctl(fd: i32, request: u32, argument: usize) -> Result {
    let files = &current().files.arc();
    let file = files.get(fd)?;
    if file.is_path_only() {
        return Err(Errno::EBADF);
    }
    match request {
        requests::FIONBIO => {
            let on: i32 = user::read(argument)?;
            let flag = if on != 0 { abi::O_NONBLOCK } else { 0 };
            file.set_flags(file.flags() & !abi::O_NONBLOCK | flag);
            Ok(0)
        }
        requests::FIOASYNC => {
            let on: i32 = user::read(argument)?;
            super::fcntl::set_asynchronous(&file, fd, on != 0).map(|()| 0)
        }
        requests::FIOCLEX => files.set_close_on_exec(fd, true).map(|()| 0),
        requests::FIONCLEX => files.set_close_on_exec(fd, false).map(|()| 0),
        requests::FIONREAD if file.node().kind() == kind::REGULAR => {
            let left = file.node().size() as i64 - file.position() as i64;
            user::write(argument, &(left as i32)).map(|()| 0)
        }
        _ => file.file().ioctl(request, argument),
    }
}

/// `CLOSE_RANGE_` flags of Linux's `linux/close_range.h`.
const CLOSE_RANGE_UNSHARE: u32 = 2;
const CLOSE_RANGE_CLOEXEC: u32 = 4;

pub(super) fn close_range(first: u32, last: u32, flags: u32) -> Result {
    if first > last || flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let (first, last, on_exec) = (first as usize, last as usize, flags & CLOSE_RANGE_CLOEXEC != 0);
    let task = current();
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        // What would be closed at once, up to the end, need not be copied.
        let to_the_end = !on_exec && last >= task.files.end();
        task.files.unshare_below(if to_the_end { first } else { usize::MAX })?;
    }
    task.files.close_range(first, last, on_exec);
    Ok(0)
}

/// Gives the thread what it shared until now. Namespaces are not here; the thread's signals and memory stay its process's.
pub(super) fn unshare(flags: u32) -> Result {
    const ALONE: u32 = abi::CLONE_THREAD | abi::CLONE_SIGHAND | abi::CLONE_VM;
    // Not the superuser's alone: a namespace of users.
    let privileged = abi::CLONE_NEWNS
        | abi::CLONE_NEWUTS
        | abi::CLONE_NEWIPC
        | abi::CLONE_NEWNET
        | abi::CLONE_NEWPID
        | abi::CLONE_NEWCGROUP
        | abi::CLONE_NEWTIME;
    if flags & privileged != 0 && flags & abi::CLONE_NEWUSER == 0 && !capable(capability::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    if flags & !(abi::CLONE_FILES | abi::CLONE_FS | abi::CLONE_SYSVSEM | ALONE) != 0 {
        return Err(Errno::EINVAL);
    }
    let task = current();
    let process = &task.process;
    let has_threads = process.threads.lock().len() > 1;
    let shares_memory = has_threads || Arc::strong_count(&process.memory.lock()) > 1;
    let shares_directory = has_threads || Arc::strong_count(&process.fs) > 1;
    if flags & ALONE != 0 && shares_memory || flags & abi::CLONE_FS != 0 && shares_directory {
        return Err(Errno::EINVAL);
    }
    if flags & abi::CLONE_FILES != 0 {
        task.files.unshare()?;
    }
    Ok(0)
}
