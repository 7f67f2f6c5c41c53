// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a path in a call leads to.

use core::sync::atomic::Ordering;

use alloc::vec::Vec;

use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    fs::{
        path::{self, Follow, Path},
        permission::Caller,
    },
    task::current,
    user,
};

/// The directory that a relative path starts from: none for the working directory.
pub(super) fn start(directory: i32, path: &[u8]) -> Result<Option<Path>> {
    if directory == abi::AT_FDCWD || path.first() == Some(&b'/') {
        return Ok(None);
    }
    let file = current().files.get(directory)?;
    if !file.node().is_directory() && !path.is_empty() {
        return Err(Errno::ENOTDIR);
    }
    Ok(Some(file.path()))
}

/// Permission bits for something new.
pub(super) fn masked(mode: u32) -> u32 {
    mode & 0o7777 & !current().process.fs.umask.load(Ordering::Relaxed)
}

/// What (directory, path, AT_ flags) names. With AT_EMPTY_PATH no path is an empty one.
pub(super) fn node_at(directory: i32, path: usize, flags: u32) -> Result<Path> {
    let found = node_at_unused(directory, path, flags)?;
    found.mount.note_use();
    Ok(found)
}

/// As [`node_at`], for umount, which is no use of a mount.
pub(super) fn node_at_unused(directory: i32, path: usize, flags: u32) -> Result<Path> {
    node_at_as(Caller::current(), directory, path, flags)
}

/// The same on behalf of `caller`.
pub(super) fn node_at_as(caller: Caller, directory: i32, path: usize, flags: u32) -> Result<Path> {
    let is_empty_allowed = flags & abi::AT_EMPTY_PATH != 0;
    let path = if path == 0 && is_empty_allowed { Vec::new() } else { user::read_path(path)? };
    if path.is_empty() {
        if flags & abi::AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        if directory == abi::AT_FDCWD {
            return Ok(current().process.fs.directory.lock().clone());
        }
        return Ok(current().files.get(directory)?.path());
    }
    let follow = if flags & abi::AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
    let last = path::walk_as(caller, start(directory, &path)?.as_ref(), &path, follow, 0)?;
    last.found.ok_or(Errno::ENOENT)
}
