// SPDX-License-Identifier: MIT OR Apache-2.0
//! open and its family.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    fs::{
        file,
        node::{Body, FileSystem, Node, kind},
        path::{self, Follow},
    },
    mm::Pages,
    task::current,
    user,
};

/// The directory that a relative path starts from: none for the working directory.
pub(super) fn start(directory: i32, path: &[u8]) -> Result<Option<Arc<Node>>> {
    if directory == abi::AT_FDCWD || path.first() == Some(&b'/') {
        return Ok(None);
    }
    let file = current().files.get(directory)?;
    if !file.node.is_directory() && !path.is_empty() {
        return Err(Errno::ENOTDIR);
    }
    Ok(Some(file.node.clone()))
}

/// Permission bits for something new.
pub(super) fn masked(mode: u32) -> u32 {
    mode & 0o7777 & !current().process.fs.umask.load(Ordering::Relaxed)
}

pub(super) fn open(path: usize, flags: u32, mode: u32) -> Result {
    openat(abi::AT_FDCWD, path, flags, mode)
}

pub(super) fn creat(path: usize, mode: u32) -> Result {
    openat(abi::AT_FDCWD, path, abi::O_CREAT | abi::O_WRONLY | abi::O_TRUNC, mode)
}

/// O_LARGEFILE as the kernel has it; the C library's is 0 for 64-bit programs.
const LARGE_FILE: u32 = 0o100_000;

/// Which of open's flags an open file keeps.
fn kept(flags: u32) -> u32 {
    if flags & abi::O_PATH != 0 {
        return flags & (abi::O_PATH | abi::O_DIRECTORY | abi::O_NOFOLLOW);
    }
    flags & !(abi::O_CREAT | abi::O_EXCL | abi::O_TRUNC | abi::O_CLOEXEC) | LARGE_FILE
}

/// A file without a name.
pub(super) fn memfd_create(name: usize, flags: u32) -> Result {
    /// Longest name on Linux, with its end.
    const LONGEST: usize = 250;
    user::read_string(name, LONGEST, Errno::EINVAL)?;
    // Nothing can be sealed here.
    if flags & !(abi::MFD_CLOEXEC | abi::MFD_EXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let body = Body::File(Arc::new(Pages::new(0)));
    let node = Node::new(FileSystem::Anonymous, kind::REGULAR | 0o777, body);
    // It never has a name.
    node.change(|meta| meta.links = 0);
    let opened = file::open(&node, abi::O_RDWR | LARGE_FILE)?;
    current().files.add(opened, flags & abi::MFD_CLOEXEC != 0, 0)
}

pub(super) fn openat(directory: i32, path: usize, flags: u32, mode: u32) -> Result {
    let path = user::read_path(path)?;
    let start = start(directory, &path)?;
    let exclusive = flags & abi::O_CREAT != 0 && flags & abi::O_EXCL != 0;
    let stay = exclusive || flags & abi::O_NOFOLLOW != 0;
    let last = path::walk(start.as_ref(), &path, if stay { Follow::No } else { Follow::Yes })?;
    let writes = flags & abi::O_ACCMODE != abi::O_RDONLY;
    let node = match last.node {
        Some(_) if exclusive => return Err(Errno::EEXIST),
        Some(node) => {
            if flags & abi::O_DIRECTORY != 0 && !node.is_directory() {
                return Err(Errno::ENOTDIR);
            }
            if node.is_directory() && (writes || flags & abi::O_CREAT != 0) && flags & abi::O_PATH == 0 {
                return Err(Errno::EISDIR);
            }
            node
        }
        None if flags & abi::O_CREAT == 0 => return Err(Errno::ENOENT),
        None if last.must_be_directory => return Err(Errno::EISDIR),
        None => {
            let body = Body::File(Arc::new(Pages::file()));
            let node = Node::new(last.directory.system, kind::REGULAR | masked(mode), body);
            match last.directory.add(&last.name, &node) {
                Ok(()) => node,
                // Somebody else made it in the meantime.
                Err(Errno::EEXIST) => last.directory.lookup(&last.name)?,
                Err(error) => return Err(error),
            }
        }
    };
    node.remember_file_place(&last.directory, &last.name);
    let opened = file::open(&node, kept(flags))?;
    if flags & abi::O_TRUNC != 0 && writes {
        if let Body::File(pages) = &node.body {
            pages.truncate(0)?;
            node.touch();
        }
    }
    current().files.add(opened, flags & abi::O_CLOEXEC != 0, 0)
}
