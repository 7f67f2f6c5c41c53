// SPDX-License-Identifier: MIT OR Apache-2.0
//! fcntl, without its locks.
//!
//! Refused, as by a Linux that was built without them: leases, directory notifications, hints of a file's life time.

use alloc::sync::Arc;

use linux_raw_sys::general as abi;

use super::{locks, seals};
use crate::{
    asynchronous,
    errno::{Errno, Result},
    fs::{FileTable, OpenFile, inode::kind, open_file::Owner, pipe::end},
    task::{current, limits::index, table},
    user,
};

/// Commands that a descriptor opened with O_PATH takes.
const FOR_PATHS: [u32; 6] =
    [abi::F_DUPFD, abi::F_DUPFD_CLOEXEC, DUPFD_QUERY, abi::F_GETFD, abi::F_SETFD, abi::F_GETFL];
/// F_DUPFD_QUERY of Linux's `linux/fcntl.h`.
const DUPFD_QUERY: u32 = abi::F_LINUX_SPECIFIC_BASE + 3;
/// Largest number of a signal.
const LAST_SIGNAL: usize = 64;

pub(super) fn fcntl(fd: i32, command: u32, argument: usize) -> Result {
    let task = current();
    let files = &*task.files;
    let file = files.get(fd)?;
    if file.is_path_only() && !FOR_PATHS.contains(&command) {
        return Err(Errno::EBADF);
    }
    match command {
        abi::F_DUPFD => duplicate(files, file, argument, false),
        abi::F_DUPFD_CLOEXEC => duplicate(files, file, argument, true),
        DUPFD_QUERY => Ok(usize::from(Arc::ptr_eq(&files.get(argument as i32)?, &file))),
        abi::F_GETFD => files.close_on_exec_flag(fd).map(usize::from),
        abi::F_SETFD => files.set_close_on_exec(fd, argument & abi::FD_CLOEXEC as usize != 0).map(|()| 0),
        abi::F_GETFL => Ok(file.flags() as usize),
        abi::F_SETFL => set_status(&file, fd, argument as u32),
        abi::F_SETOWN => set_owner_by_number(&file, argument as i32),
        abi::F_SETOWN_EX => set_owner(&file, user::read(argument)?),
        abi::F_GETOWN => {
            let owner = file.owner();
            Ok((if owner.kind == GROUP { -owner.number } else { owner.number }) as usize)
        }
        abi::F_GETOWN_EX => user::write(argument, &file.owner()).map(|()| 0),
        abi::F_SETSIG if argument <= LAST_SIGNAL => {
            file.set_signal(argument as u32);
            Ok(0)
        }
        abi::F_GETSIG => Ok(file.signal() as usize),
        abi::F_GETLEASE => Ok(abi::F_UNLCK as usize),
        abi::F_NOTIFY if !file.node().is_directory() => Err(Errno::ENOTDIR),
        abi::F_GETPIPE_SZ => Ok(end::of(&file).ok_or(Errno::EBADF)?.capacity()),
        abi::F_SETPIPE_SZ => end::of(&file).ok_or(Errno::EBADF)?.set_capacity(argument as u32),
        abi::F_GET_SEALS => seals::get(&file),
        abi::F_ADD_SEALS => seals::add(&file, argument as u32),
        _ if locks::is_lock_command(command) => locks::range(files, fd, &file, command, argument),
        _ => Err(Errno::EINVAL),
    }
}

fn duplicate(files: &FileTable, file: Arc<OpenFile>, from: usize, close_on_exec: bool) -> Result {
    let from = from as u32 as usize;
    if from as u64 >= current().process.limits.lock()[index::NOFILE].soft {
        return Err(Errno::EINVAL);
    }
    files.add(file, close_on_exec, from)
}

fn set_status(file: &Arc<OpenFile>, fd: i32, flags: u32) -> Result {
    let kind = file.node().kind();
    let direct = matches!(kind, kind::FIFO | kind::REGULAR | kind::BLOCK);
    if flags & abi::O_DIRECT != 0 && !direct {
        return Err(Errno::EINVAL);
    }
    file.set_flags(flags);
    set_asynchronous(file, fd, flags & abi::FASYNC != 0).map(|()| 0)
}

/// Whether the owner is told of changes. As on Linux, the flag means nothing to files that never change by themselves.
pub(super) fn set_asynchronous(file: &Arc<OpenFile>, fd: i32, on: bool) -> Result<()> {
    let on = on && file.file().queue().is_some();
    if on {
        asynchronous::begin(file, fd)?;
    } else {
        asynchronous::end(file);
    }
    let flag = if on { abi::FASYNC } else { 0 };
    file.set_flags(file.flags() & !abi::FASYNC | flag);
    Ok(())
}

const THREAD: i32 = abi::F_OWNER_TID as i32;
const PROCESS: i32 = abi::F_OWNER_PID as i32;
const GROUP: i32 = abi::F_OWNER_PGRP as i32;

/// F_SETOWN: a process, or a group as a negative number.
fn set_owner_by_number(file: &OpenFile, number: i32) -> Result {
    let owner = match number {
        0.. => Owner { kind: PROCESS, number },
        _ => Owner { kind: GROUP, number: number.checked_neg().ok_or(Errno::EINVAL)? },
    };
    set_owner(file, owner)
}

fn set_owner(file: &OpenFile, owner: Owner) -> Result {
    let number = owner.number as u32;
    let exists = match owner.kind {
        THREAD => table::task(number).is_some(),
        PROCESS => table::process(number).is_some() || table::task(number).is_some(),
        GROUP => table::group(number).next().is_some(),
        _ => return Err(Errno::EINVAL),
    };
    if number != 0 && !exists {
        return Err(Errno::ESRCH);
    }
    file.set_owner(owner);
    Ok(0)
}
