// SPDX-License-Identifier: MIT OR Apache-2.0
//! The size of files: truncate and fallocate.

use linux_raw_sys::general as abi;

use super::{attributes::opened, lookup::node_at};
use crate::{
    errno::{Errno, Result},
    fs::{dentry::Dentry, inode::InodeContent, notify, permission, size_limit, writing::Writing},
    mm::MAX_SIZE,
};

fn set_size(dentry: &Dentry, size: u64) -> Result {
    let node = &dentry.inode;
    let InodeContent::File(pages) = &node.content else { return Err(Errno::EINVAL) };
    if size > pages.size() {
        size_limit::check_end(size)?;
    }
    pages.truncate(size)?;
    node.touch();
    notify::modified(dentry);
    Ok(0)
}

pub(super) fn truncate(path: usize, size: i64) -> Result {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    let path = node_at(abi::AT_FDCWD, path, 0)?;
    match &path.content {
        InodeContent::File(_) => {}
        InodeContent::Directory(_) => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    permission::check(&path, permission::WRITE)?;
    let _writing = Writing::new(&path)?;
    set_size(&path.dentry, size)
}

pub(super) fn ftruncate(fd: i32, size: i64) -> Result {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    let file = opened(fd)?;
    if file.can_write() { set_size(&file.dentry, size) } else { Err(Errno::EINVAL) }
}

/// What Linux checks for every file system, in its order.
fn check_mode(mode: u32) -> Result<()> {
    const ALL: u32 = 0x7f;
    const WRITE_ZEROES: u32 = 0x80;
    const KEEP: u32 = abi::FALLOC_FL_KEEP_SIZE;
    if mode & !(ALL | WRITE_ZEROES) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    match mode & !KEEP {
        0 | abi::FALLOC_FL_UNSHARE_RANGE | abi::FALLOC_FL_ZERO_RANGE => Ok(()),
        abi::FALLOC_FL_PUNCH_HOLE if mode & KEEP != 0 => Ok(()),
        abi::FALLOC_FL_COLLAPSE_RANGE | abi::FALLOC_FL_INSERT_RANGE if mode & KEEP == 0 => Ok(()),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

pub(super) fn fallocate(fd: i32, mode: u32, offset: i64, length: i64) -> Result {
    let file = opened(fd)?;
    let (Ok(start), Ok(length)) = (u64::try_from(offset), u64::try_from(length)) else {
        return Err(Errno::EINVAL);
    };
    if length == 0 {
        return Err(Errno::EINVAL);
    }
    check_mode(mode)?;
    if !file.can_write() {
        return Err(Errno::EBADF);
    }
    let pages = match &file.node().content {
        InodeContent::File(pages) => pages,
        InodeContent::Fifo(_) => return Err(Errno::ESPIPE),
        InodeContent::Directory(_) => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    };
    let end = start.checked_add(length).filter(|end| *end <= MAX_SIZE).ok_or(Errno::EFBIG)?;
    match mode {
        // As Linux's tmpfs: no other.
        0 | abi::FALLOC_FL_KEEP_SIZE => {
            let keeps = mode & abi::FALLOC_FL_KEEP_SIZE != 0;
            if end > pages.size() {
                size_limit::check_end(end)?;
            }
            pages.allocate(start, end, keeps)?;
        }
        _ if mode == abi::FALLOC_FL_PUNCH_HOLE | abi::FALLOC_FL_KEEP_SIZE => pages.punch_hole(start, end)?,
        _ => return Err(Errno::EOPNOTSUPP),
    }
    file.node().touch();
    notify::modified(&file.dentry);
    Ok(0)
}
