// SPDX-License-Identifier: MIT OR Apache-2.0
//! inotify's calls.

use alloc::sync::Arc;

use exo_io::inotify::{self, Inotify};
use linux_raw_sys::general as abi;

use super::lookup::node_at;
use crate::{
    errno::{Errno, Result},
    fs::{OpenFile, permission},
    task::current,
};

/// What a watch may be asked for.
const KNOWN: u32 = abi::IN_ALL_EVENTS
    | abi::IN_UNMOUNT
    | abi::IN_Q_OVERFLOW
    | abi::IN_IGNORED
    | abi::IN_ONLYDIR
    | abi::IN_DONT_FOLLOW
    | abi::IN_EXCL_UNLINK
    | abi::IN_MASK_CREATE
    | abi::IN_MASK_ADD
    | abi::IN_ISDIR
    | abi::IN_ONESHOT;

pub(super) fn inotify_init1(flags: u32) -> Result {
    if flags & !(abi::IN_CLOEXEC | abi::IN_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    current().files.arc().add(inotify::create(flags)?, flags & abi::IN_CLOEXEC != 0, 0)
}

pub(super) fn inotify_init() -> Result {
    inotify_init1(0)
}

fn find(fd: i32) -> Result<Arc<OpenFile>> {
    let file = current().files.get(fd)?;
    if file.is_path_only() { Err(Errno::EBADF) } else { Ok(file) }
}

fn of(file: &OpenFile) -> Result<&Arc<Inotify>> {
    inotify::of(file)
}

pub(super) fn inotify_add_watch(fd: i32, path: usize, mask: u32) -> Result {
    const BOTH: u32 = abi::IN_MASK_ADD | abi::IN_MASK_CREATE;
    if mask & KNOWN == 0 {
        return Err(Errno::EINVAL);
    }
    let file = find(fd)?;
    if mask & BOTH == BOTH {
        return Err(Errno::EINVAL);
    }
    let queue = of(&file)?;
    let follow = if mask & abi::IN_DONT_FOLLOW != 0 { abi::AT_SYMLINK_NOFOLLOW } else { 0 };
    let path = node_at(abi::AT_FDCWD, path, follow)?;
    if mask & abi::IN_ONLYDIR != 0 && !path.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    permission::check(&path, permission::READ)?;
    queue.watch(&path, mask).map(|number| number as usize)
}

pub(super) fn inotify_rm_watch(fd: i32, watch: i32) -> Result {
    let file = find(fd)?;
    of(&file)?.forget(watch).map(|()| 0)
}
