// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors: close, dup, fcntl, ioctl, pipe.

use alloc::sync::Arc;

use linux_raw_sys::{general as abi, ioctl as requests};

use crate::{
    errno::{Errno, Result},
    fs::{OpenFile, pipe as pipes},
    task::current,
    user,
};

pub(super) fn close(fd: i32) -> Result {
    current().process.files.close(fd).map(|()| 0)
}

pub(super) fn dup(fd: i32) -> Result {
    let files = &current().process.files.clone();
    files.add(files.get(fd)?, false, 0)
}

pub(super) fn dup2(old: i32, new: i32) -> Result {
    if old == new {
        current().process.files.get(old)?;
        return Ok(new as usize);
    }
    dup3(old, new, 0)
}

pub(super) fn dup3(old: i32, new: i32, flags: u32) -> Result {
    if old == new || flags & !abi::O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let files = &current().process.files.clone();
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
    let (read, write) = pipes::new_pair(flags & abi::O_NONBLOCK);
    give_two([read, write], close_on_exec, to)
}

/// Enters two files, and tells the program their descriptors: both or none.
pub(super) fn give_two([first, second]: [Arc<OpenFile>; 2], close_on_exec: bool, to: usize) -> Result {
    let files = &current().process.files.clone();
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

fn set_status(file: &OpenFile, flags: u32) -> Result {
    file.set_flags(flags);
    Ok(0)
}

pub(super) fn fcntl(fd: i32, command: u32, argument: usize) -> Result {
    let files = &current().process.files.clone();
    let file = files.get(fd)?;
    match command {
        abi::F_DUPFD => {
            usize::try_from(argument as i32).map_err(|_| Errno::EINVAL)?;
            files.add(file, false, argument)
        }
        abi::F_DUPFD_CLOEXEC => {
            usize::try_from(argument as i32).map_err(|_| Errno::EINVAL)?;
            files.add(file, true, argument)
        }
        abi::F_GETFD => files.close_on_exec_flag(fd).map(usize::from),
        abi::F_SETFD => files.set_close_on_exec(fd, argument & abi::FD_CLOEXEC as usize != 0).map(|()| 0),
        // O_LARGEFILE is always on.
        abi::F_GETFL => Ok((file.flags() & !abi::O_CLOEXEC | 0o100000) as usize),
        abi::F_SETFL => set_status(&file, argument as u32),
        // Nobody else has locks that could conflict: every process is the same user's, and none is remembered.
        abi::F_GETLK => user::write(argument, &(abi::F_UNLCK as u16)).map(|()| 0),
        abi::F_SETLK | abi::F_SETLKW => Ok(0),
        abi::F_GETPIPE_SZ => Ok(65536),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn flock(fd: i32, _operation: u32) -> Result {
    current().process.files.get(fd).map(|_| 0)
}

pub(super) fn ioctl(fd: i32, request: u32, argument: usize) -> Result {
    let files = &current().process.files.clone();
    let file = files.get(fd)?;
    match request {
        requests::FIONBIO => {
            let on: i32 = user::read(argument)?;
            let flag = if on != 0 { abi::O_NONBLOCK } else { 0 };
            set_status(&file, file.flags() & !abi::O_NONBLOCK | flag)
        }
        requests::FIOCLEX => files.set_close_on_exec(fd, true).map(|()| 0),
        requests::FIONCLEX => files.set_close_on_exec(fd, false).map(|()| 0),
        _ => file.file().ioctl(request, argument),
    }
}

pub(super) fn close_range(first: u32, last: u32, flags: u32) -> Result {
    if first > last || flags & !(2 | 4) != 0 {
        return Err(Errno::EINVAL);
    }
    current().process.files.close_range(first as usize, last as usize, flags & 4 != 0);
    Ok(0)
}
