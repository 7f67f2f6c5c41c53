// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks of files: flock(2), and the F_ commands of fcntl(2) for ranges.

use alloc::sync::Arc;

use exo_logic::range_locks::{Lock, Mode, Span};
use linux_raw_sys::general as abi;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    fs::{
        FileTable, OpenFile,
        locks::{LAST_BYTE, Owner},
    },
    task::current,
    user,
};

/// `struct flock`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    kind: i16,
    whence: i16,
    padding: [u8; 4],
    start: i64,
    length: i64,
    pid: i32,
    padding_at_the_end: [u8; 4],
}

const READ: i16 = abi::F_RDLCK as i16;
const WRITE: i16 = abi::F_WRLCK as i16;
const UNLOCK: i16 = abi::F_UNLCK as i16;

impl Request {
    /// The mode; none to unlock.
    fn mode(&self) -> Result<Option<Mode>> {
        match self.kind {
            READ => Ok(Some(Mode::Read)),
            WRITE => Ok(Some(Mode::Write)),
            UNLOCK => Ok(None),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The bytes. A negative length means those before the start.
    fn span(&self, file: &OpenFile) -> Result<Span> {
        let base = match u32::try_from(self.whence) {
            Ok(abi::SEEK_SET) => 0,
            Ok(abi::SEEK_CUR) => file.position(),
            Ok(abi::SEEK_END) => file.node().size(),
            _ => return Err(Errno::EINVAL),
        };
        let start =
            i64::try_from(base).unwrap_or(i64::MAX).checked_add(self.start).ok_or(Errno::EOVERFLOW)?;
        let first = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
        let span = match self.length {
            0 => Span { first, last: LAST_BYTE },
            1.. => Span { first, last: start.checked_add(self.length - 1).ok_or(Errno::EOVERFLOW)? as u64 },
            _ => {
                let lower = start.checked_add(self.length).and_then(|at| u64::try_from(at).ok());
                // Not empty, as the start is then above 0.
                Span { first: lower.ok_or(Errno::EINVAL)?, last: first - 1 }
            }
        };
        Ok(span)
    }

    /// Tells of a lock that is in the way.
    fn describe(&mut self, lock: Option<Lock<Owner>>) {
        let Some(lock) = lock else {
            self.kind = UNLOCK;
            return;
        };
        self.kind = if lock.mode == Mode::Read { READ } else { WRITE };
        self.whence = abi::SEEK_SET as i16;
        self.start = lock.span.first as i64;
        self.length =
            if lock.span.last == LAST_BYTE { 0 } else { (lock.span.last - lock.span.first) as i64 + 1 };
        self.pid = if matches!(lock.owner, Owner::Table(_)) { lock.pid } else { -1 };
    }
}

/// Whether `command` is one of those here.
pub(super) fn is_lock_command(command: u32) -> bool {
    matches!(
        command,
        abi::F_GETLK | abi::F_SETLK | abi::F_SETLKW | abi::F_OFD_GETLK | abi::F_OFD_SETLK | abi::F_OFD_SETLKW
    )
}

/// fcntl's commands for ranges.
pub(super) fn range(files: &FileTable, fd: i32, file: &Arc<OpenFile>, command: u32, at: usize) -> Result {
    let mut request: Request = user::read(at)?;
    let of_file = matches!(command, abi::F_OFD_GETLK | abi::F_OFD_SETLK | abi::F_OFD_SETLKW);
    let owner = if of_file { Owner::OpenFile(file.id()) } else { Owner::Table(files.number()) };
    let gets = matches!(command, abi::F_GETLK | abi::F_OFD_GETLK);
    if command == abi::F_GETLK && request.kind == UNLOCK {
        return Err(Errno::EINVAL);
    }
    let mode = if gets { request.mode()? } else { None };
    let span = request.span(file)?;
    let pid_is_wrong = of_file && request.pid != 0;
    if gets {
        if pid_is_wrong {
            return Err(Errno::EINVAL);
        }
        let found = file.node().locks.get().and_then(|locks| match mode {
            Some(mode) => locks.conflict(owner, mode, span),
            None => locks.own(owner, span),
        });
        request.describe(found);
        user::write(at, &request)?;
        return Ok(0);
    }
    let mode = request.mode()?;
    match mode {
        Some(Mode::Read) if !file.can_read() => return Err(Errno::EBADF),
        Some(Mode::Write) if !file.can_write() => return Err(Errno::EBADF),
        _ if pid_is_wrong => return Err(Errno::EINVAL),
        _ => {}
    }
    let Some(mode) = mode else {
        if let Some(locks) = file.node().locks.get() {
            locks.clear(owner, span)?;
        }
        return Ok(0);
    };
    let locks = file.node().file_locks()?;
    let lock = Lock { owner, pid: current().pid as i32, mode, span };
    if matches!(command, abi::F_SETLKW | abi::F_OFD_SETLKW) {
        locks.wait_and_set(lock, current().tid())?;
    } else {
        locks.set(lock)?;
    }
    // Another thread may have closed the descriptor meanwhile, and found no lock to release.
    if !of_file && !files.get(fd).is_ok_and(|now| Arc::ptr_eq(&now, file)) {
        locks.clear_owner(owner);
        return Err(Errno::EBADF);
    }
    Ok(0)
}

/// Constants of Linux's `asm-generic/fcntl.h`.
mod operation {
    pub(super) const SHARED: u32 = 1;
    pub(super) const EXCLUSIVE: u32 = 2;
    pub(super) const NO_WAIT: u32 = 4;
    pub(super) const UNLOCK: u32 = 8;
}

pub(super) fn flock(fd: i32, operation: u32) -> Result {
    let mode = match operation & !operation::NO_WAIT {
        operation::SHARED => Some(Mode::Read),
        operation::EXCLUSIVE => Some(Mode::Write),
        operation::UNLOCK => None,
        _ => return Err(Errno::EINVAL),
    };
    let file = current().files.get(fd)?;
    if file.is_path_only() || mode.is_some() && !file.can_read() && !file.can_write() {
        return Err(Errno::EBADF);
    }
    match mode {
        Some(mode) => {
            let waits = operation & operation::NO_WAIT == 0;
            file.node().file_locks()?.flock(file.id(), current().pid, mode, waits)?;
        }
        None => {
            if let Some(locks) = file.node().locks.get() {
                locks.unflock(file.id());
            }
        }
    }
    Ok(0)
}
