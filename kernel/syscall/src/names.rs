// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names: making, removing and renaming; directories.

use alloc::{sync::Arc, vec::Vec};

use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

use super::lookup::{masked, node_at, start};
use crate::{
    errno::{Errno, Result},
    fallible,
    fs::{
        dentry::MustBeDirectory,
        inode::{
            directory::{Rename, What},
            kind,
        },
        path::{self, Follow, Last, Path},
        permission,
    },
    sched::spans,
    task::{credentials::capable, current},
    user,
};

pub(super) fn mkdir(path: usize, mode: u32) -> Result {
    mkdirat(abi::AT_FDCWD, path, mode)
}

pub(super) fn mkdirat(directory: i32, path: usize, mode: u32) -> Result {
    let path = user::read_path(path)?;
    let (parent, name) = path::resolve_new(start(directory, &path)?.as_ref(), &path, true)?;
    parent.create(&name, What::Directory, masked(mode & 0o1777)).map(|_| 0)
}

pub(super) fn mknod(path: usize, mode: u32, device: u64) -> Result {
    mknodat(abi::AT_FDCWD, path, mode, device)
}

pub(super) fn mknodat(directory: i32, path: usize, mode: u32, device: u64) -> Result {
    let path = user::read_path(path)?;
    if mode & kind::MASK == kind::DIRECTORY {
        return Err(Errno::EPERM);
    }
    if !matches!(
        mode & kind::MASK,
        0 | kind::REGULAR | kind::CHARACTER | kind::BLOCK | kind::FIFO | kind::SOCKET
    ) {
        return Err(Errno::EINVAL);
    }
    let (parent, name) = path::resolve_new(start(directory, &path)?.as_ref(), &path, false)?;
    let is_device = matches!(mode & kind::MASK, kind::CHARACTER | kind::BLOCK);
    let is_whiteout = mode & kind::MASK == kind::CHARACTER && device == 0;
    if is_device && !is_whiteout && !capable(capability::MKNOD) {
        return Err(Errno::EPERM);
    }
    let (major, minor) = (((device >> 8) & 0xfff) as u32, (device & 0xff | (device >> 12) & 0xfff00) as u32);
    let what = match mode & kind::MASK {
        0 | kind::REGULAR => What::File,
        kind::CHARACTER => What::Character(major, minor),
        kind::BLOCK => What::Block(major, minor),
        kind::FIFO => What::Fifo,
        kind::SOCKET => What::Socket,
        _ => return Err(Errno::EINVAL),
    };
    parent.create(&name, what, masked(mode)).map(|_| 0)
}

/// The last component of a path whose name is to go.
fn last_of(directory: i32, path: &[u8]) -> Result<Last<'_>> {
    path::walk(start(directory, path)?.as_ref(), path, Follow::Name)
}

pub(super) fn rmdir(path: usize) -> Result {
    unlinkat(abi::AT_FDCWD, path, abi::AT_REMOVEDIR)
}

pub(super) fn unlink(path: usize) -> Result {
    unlinkat(abi::AT_FDCWD, path, 0)
}

pub(super) fn unlinkat(directory: i32, path: usize, flags: u32) -> Result {
    if flags & !abi::AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(path)?;
    let last = last_of(directory, &path)?;
    if flags & abi::AT_REMOVEDIR != 0 {
        match &last.name[..] {
            b"." => return Err(Errno::EINVAL),
            b".." => return Err(Errno::ENOTEMPTY),
            b"" => return Err(Errno::EBUSY),
            name => {
                last.directory.check_writable()?;
                // What ends with its name is told of before the name.
                drop(last.found);
                last.directory.remove_directory(name)?;
            }
        }
        return Ok(0);
    }
    if is_special(&last.name) {
        return Err(Errno::EISDIR);
    }
    last.directory.check_writable()?;
    let found = last.found.ok_or(Errno::ENOENT)?;
    if last.must_be_directory {
        return Err(if found.is_directory() { Errno::EISDIR } else { Errno::ENOTDIR });
    }
    drop(found);
    last.directory.unlink(&last.name).map(|()| 0)
}

fn is_special(name: &[u8]) -> bool {
    matches!(name, b"" | b"." | b"..")
}

pub(super) fn link(old: usize, new: usize) -> Result {
    linkat(abi::AT_FDCWD, old, abi::AT_FDCWD, new, 0)
}

pub(super) fn linkat(old_at: i32, old: usize, new_at: i32, new: usize, flags: u32) -> Result {
    if flags & !(abi::AT_SYMLINK_FOLLOW | abi::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = if flags & abi::AT_SYMLINK_FOLLOW != 0 { 0 } else { abi::AT_SYMLINK_NOFOLLOW };
    let node = node_at(old_at, old, flags & abi::AT_EMPTY_PATH | follow)?;
    let path = user::read_path(new)?;
    let (parent, name) = path::resolve_new(start(new_at, &path)?.as_ref(), &path, false)?;
    if !Arc::ptr_eq(&parent.mount, &node.mount) {
        return Err(Errno::EXDEV);
    }
    if node.is_directory() || !parent.superblock.system.holds_files() {
        return Err(Errno::EPERM);
    }
    parent.link(&name, &node).map(|()| 0)
}

pub(super) fn symlink(target: usize, path: usize) -> Result {
    symlinkat(target, abi::AT_FDCWD, path)
}

pub(super) fn symlinkat(target: usize, directory: i32, path: usize) -> Result {
    let target = user::read_path(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path = user::read_path(path)?;
    let (parent, name) = path::resolve_new(start(directory, &path)?.as_ref(), &path, false)?;
    parent.create(&name, What::Link(&target), 0o777).map(|_| 0)
}

pub(super) fn rename(old: usize, new: usize) -> Result {
    renameat2(abi::AT_FDCWD, old, abi::AT_FDCWD, new, 0)
}

pub(super) fn renameat(old_at: i32, old: usize, new_at: i32, new: usize) -> Result {
    renameat2(old_at, old, new_at, new, 0)
}

pub(super) fn renameat2(old_at: i32, old: usize, new_at: i32, new: usize, flags: u32) -> Result {
    let how = match flags {
        0 => Rename::Replace,
        abi::RENAME_NOREPLACE => Rename::Keep,
        abi::RENAME_EXCHANGE => Rename::Exchange,
        abi::RENAME_WHITEOUT => Rename::Whiteout,
        _ if flags == abi::RENAME_NOREPLACE | abi::RENAME_WHITEOUT => Rename::WhiteoutKeep,
        _ => return Err(Errno::EINVAL),
    };
    let (old, new) = (user::read_path(old)?, user::read_path(new)?);
    let (from, to) = (last_of(old_at, &old)?, last_of(new_at, &new)?);
    if !Arc::ptr_eq(&from.directory.mount, &to.directory.mount) {
        return Err(Errno::EXDEV);
    }
    if is_special(&from.name) {
        return Err(Errno::EBUSY);
    }
    if is_special(&to.name) {
        return Err(if how.keeps() { Errno::EEXIST } else { Errno::EBUSY });
    }
    from.directory.check_writable()?;
    let must_be = MustBeDirectory { old: from.must_be_directory, new: to.must_be_directory };
    from.directory.rename(&from.name, &to.directory, &to.name, how, must_be).map(|()| 0)
}

pub(super) fn getcwd(to: usize, size: usize) -> Result {
    let (directory, root) = {
        let fs = &current().process.fs;
        (fs.directory.lock().clone(), fs.root.lock().clone())
    };
    if directory.metadata().links == 0 {
        return Err(Errno::ENOENT);
    }
    let (names, is_below) = directory.names_below(&root)?;
    let mut path = if is_below { Vec::new() } else { b"(unreachable)".to_vec() };
    path.extend(names);
    path.push(0);
    if path.len() > user::PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if path.len() > size {
        return Err(Errno::ERANGE);
    }
    user::copy_out(to, &path)?;
    Ok(path.len())
}

fn change_directory(path: Path) -> Result {
    if !path.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    permission::check(&path, permission::EXECUTE)?;
    let old = core::mem::replace(&mut *current().process.fs.directory.lock(), path);
    drop(old);
    Ok(0)
}

pub(super) fn chdir(path: usize) -> Result {
    change_directory(node_at(abi::AT_FDCWD, path, 0)?)
}

pub(super) fn fchdir(fd: i32) -> Result {
    change_directory(current().files.get(fd)?.path())
}

pub(super) fn chroot(path: usize) -> Result {
    let path = node_at(abi::AT_FDCWD, path, 0)?;
    if !path.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    permission::check(&path, permission::EXECUTE)?;
    if !capable(capability::SYS_CHROOT) {
        return Err(Errno::EPERM);
    }
    let old = core::mem::replace(&mut *current().process.fs.root.lock(), path);
    drop(old);
    Ok(0)
}

pub(super) fn getdents64(fd: i32, to: usize, size: usize) -> Result {
    /// Bytes of `struct linux_dirent64` before the name.
    const HEADER: usize = 19;
    /// Entries that are read at once.
    const PART: usize = 16;
    let file = current().files.get(fd)?;
    if file.is_path_only() {
        return Err(Errno::EBADF);
    }
    if !file.node().is_directory() {
        return Err(Errno::ENOTDIR);
    }
    if file.node().metadata().links == 0 {
        return Err(Errno::ENOENT);
    }
    let size = size.min(64 * 1024);
    let mut out: Vec<u8> = fallible::list(size)?;
    let mut too_small = false;
    // With its entries locked, a directory is read in parts.
    let mut left = PART;
    let mut is_full = false;
    loop {
        file.read_entries(|name, kind, inode, position| {
            if left == 0 {
                return false;
            }
            left -= 1;
            let length = (HEADER + name.len() + 1).next_multiple_of(8);
            if out.len() + length > size {
                too_small = out.is_empty();
                is_full = true;
                return false;
            }
            let end = out.len() + length;
            out.extend(inode.to_le_bytes());
            out.extend(position.to_le_bytes());
            out.extend((length as u16).to_le_bytes());
            // The type as DT_ has it: the four bits of S_IFMT.
            out.push((kind >> 12) as u8);
            out.extend(name);
            out.resize(end, 0);
            true
        })?;
        if is_full || left > 0 || spans::point() {
            break;
        }
        left = PART;
    }
    if too_small {
        return Err(Errno::EINVAL);
    }
    user::copy_out(to, &out)?;
    Ok(out.len())
}
