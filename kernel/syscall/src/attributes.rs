// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be changed about a file but its content: mode, owner, times.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use exo_hal::time;
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

use super::lookup::node_at;
use crate::{
    errno::{Errno, Result},
    fs::{
        OpenFile,
        inode::{InodeContent, kind},
        notify,
        path::Path,
        permission,
    },
    task::{credentials::capable, current},
    user::{self, TimeSpec, TimeVal},
};

/// The open file behind a descriptor; EBADF if it was opened for its place only.
pub(super) fn opened(fd: i32) -> Result<Arc<OpenFile>> {
    let file = current().files.get(fd)?;
    if file.is_path_only() { Err(Errno::EBADF) } else { Ok(file) }
}

fn set_mode(path: &Path, mode: u32) -> Result {
    path.check_writable()?;
    if path.kind() == kind::LINK {
        return Err(Errno::EOPNOTSUPP);
    }
    if !permission::is_owner(path) {
        return Err(Errno::EPERM);
    }
    if let InodeContent::File(pages) = &path.content {
        let changes = (path.metadata().mode ^ mode) & 0o111 != 0;
        if changes && pages.seals.bits() & abi::F_SEAL_EXEC != 0 {
            return Err(Errno::EPERM);
        }
    }
    // Who is not in the file's group does not let others act as that group.
    let keeps = permission::is_in_group(path.metadata().gid) || capable(capability::FSETID);
    let mode = if keeps { mode } else { mode & !abi::S_ISGID };
    path.change(|metadata| metadata.mode = metadata.mode & kind::MASK | mode & 0o7777);
    notify::changed(&path.dentry, abi::IN_ATTRIB);
    Ok(0)
}

pub(super) fn chmod(path: usize, mode: u32) -> Result {
    set_mode(&node_at(abi::AT_FDCWD, path, 0)?, mode)
}

pub(super) fn fchmod(fd: i32, mode: u32) -> Result {
    set_mode(&opened(fd)?.path(), mode)
}

pub(super) fn fchmodat(directory: i32, path: usize, mode: u32) -> Result {
    set_mode(&node_at(directory, path, 0)?, mode)
}

/// As fchmodat, but it can be told to stay at a symbolic link, whose mode cannot be changed.
pub(super) fn fchmodat2(directory: i32, path: usize, mode: u32, flags: u32) -> Result {
    if flags & !(abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    set_mode(&node_at(directory, path, flags)?, mode)
}

fn set_owner(path: &Path, uid: u32, gid: u32) -> Result {
    path.check_writable()?;
    let given = |id| (id != u32::MAX).then_some(id);
    if !permission::may_give(&path.metadata(), given(uid), given(gid)) {
        return Err(Errno::EPERM);
    }
    path.change(|metadata| {
        metadata.uid = if uid == u32::MAX { metadata.uid } else { uid };
        metadata.gid = if gid == u32::MAX { metadata.gid } else { gid };
        // A program that ran as its owner does not run as the new one. Without the group's execute bit, the other means something else.
        if metadata.mode & kind::MASK != kind::DIRECTORY {
            metadata.mode &= !abi::S_ISUID;
            if metadata.mode & abi::S_IXGRP != 0 {
                metadata.mode &= !abi::S_ISGID;
            }
        }
    });
    notify::changed(&path.dentry, abi::IN_ATTRIB);
    Ok(0)
}

pub(super) fn chown(path: usize, uid: u32, gid: u32) -> Result {
    fchownat(abi::AT_FDCWD, path, uid, gid, 0)
}

pub(super) fn lchown(path: usize, uid: u32, gid: u32) -> Result {
    fchownat(abi::AT_FDCWD, path, uid, gid, abi::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn fchown(fd: i32, uid: u32, gid: u32) -> Result {
    set_owner(&opened(fd)?.path(), uid, gid)
}

pub(super) fn fchownat(directory: i32, path: usize, uid: u32, gid: u32, flags: u32) -> Result {
    if flags & !(abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    set_owner(&node_at(directory, path, flags)?, uid, gid)
}

pub(super) fn umask(mask: u32) -> Result {
    Ok(current().process.fs.umask.swap(mask & 0o777, Ordering::Relaxed) as usize)
}

/// Sets both times to now, which who may write to the file may do as well as its owner.
fn set_times_to_now(path: &Path) -> Result {
    path.check_writable()?;
    if !permission::is_owner(path) {
        permission::check(path, permission::WRITE)?;
    }
    let now = time::wall_ns();
    path.change(|metadata| (metadata.accessed, metadata.modified) = (now, now));
    notify::changed(&path.dentry, abi::IN_ATTRIB);
    Ok(0)
}

/// Sets the times of access and of the last change, where they are given.
fn set_times(path: &Path, times: [Option<u64>; 2]) -> Result {
    path.check_writable()?;
    if !permission::is_owner(path) {
        return Err(Errno::EPERM);
    }
    path.change(|metadata| {
        let [accessed, modified] = times;
        metadata.accessed = accessed.unwrap_or(metadata.accessed);
        metadata.modified = modified.unwrap_or(metadata.modified);
    });
    // One of the times alone looks as what usually changes it.
    let bits = match times {
        [Some(_), None] => abi::IN_ACCESS,
        [None, Some(_)] => abi::IN_MODIFY,
        _ => abi::IN_ATTRIB,
    };
    notify::changed(&path.dentry, bits);
    Ok(0)
}

/// What utimensat does.
enum Change {
    Nothing,
    Now,
    Times([Option<u64>; 2]),
}

impl Change {
    fn apply(&self, path: &Path) -> Result {
        match self {
            Self::Nothing => Ok(0),
            Self::Now => set_times_to_now(path),
            Self::Times(times) => set_times(path, *times),
        }
    }
}

fn chosen_times(times: usize) -> Result<Change> {
    let now = time::wall_ns();
    if times == 0 {
        return Ok(Change::Now);
    }
    let values: [TimeSpec; 2] = user::read(times)?;
    let mut chosen = [None; 2];
    for (value, chosen) in values.iter().zip(&mut chosen) {
        *chosen = match u32::try_from(value.nanoseconds) {
            Ok(abi::UTIME_NOW) => Some(now),
            Ok(abi::UTIME_OMIT) => None,
            _ => Some(value.to_ns()?),
        };
    }
    let all = |what: u32| values.iter().all(|value| value.nanoseconds == i64::from(what));
    Ok(match chosen {
        [None, None] => Change::Nothing,
        _ if all(abi::UTIME_NOW) => Change::Now,
        chosen => Change::Times(chosen),
    })
}

pub(super) fn utimensat(directory: i32, path: usize, times: usize, flags: u32) -> Result {
    let change = chosen_times(times)?;
    if matches!(change, Change::Nothing) {
        return Ok(0);
    }
    if flags & !(abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    if path == 0 && directory != abi::AT_FDCWD {
        if flags & abi::AT_SYMLINK_NOFOLLOW != 0 {
            return Err(Errno::EINVAL);
        }
        return change.apply(&opened(directory)?.path());
    }
    change.apply(&node_at(directory, path, flags)?)
}

/// As [`set_times`] for the older calls, in microseconds; no address stands for now.
fn set_times_from(path: &Path, times: usize) -> Result {
    if times == 0 {
        return set_times_to_now(path);
    }
    let [accessed, modified]: [TimeVal; 2] = user::read(times)?;
    set_times(path, [Some(accessed.to_ns()?), Some(modified.to_ns()?)])
}

pub(super) fn utimes(path: usize, times: usize) -> Result {
    set_times_from(&node_at(abi::AT_FDCWD, path, 0)?, times)
}

pub(super) fn futimesat(directory: i32, path: usize, times: usize) -> Result {
    if path == 0 {
        return set_times_from(&opened(directory)?.path(), times);
    }
    set_times_from(&node_at(directory, path, 0)?, times)
}

pub(super) fn utime(path: usize, times: usize) -> Result {
    let path = node_at(abi::AT_FDCWD, path, 0)?;
    if times == 0 {
        return set_times_to_now(&path);
    }
    let values: [i64; 2] = user::read(times)?;
    let [accessed, modified] = values.map(|seconds| TimeSpec { seconds, nanoseconds: 0 }.to_ns());
    set_times(&path, [Some(accessed?), Some(modified?)])
}
