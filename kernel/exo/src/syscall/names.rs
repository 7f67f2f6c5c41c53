// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names: making, removing and renaming; directories; attributes; mounts.

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use exo_hal::time;
use linux_raw_sys::general as abi;

use super::{
    open::{masked, start},
    status::node_at,
};
use crate::{
    errno::{Errno, Result},
    fs::{
        mount as mounts,
        node::{Body, Node, kind},
        path::{self, Follow, Last},
        pipe::Pipe,
    },
    mm::Pages,
    task::{current, limits::index},
    user::{self, TimeSpec, TimeVal},
};

pub(super) fn mkdir(path: usize, mode: u32) -> Result {
    mkdirat(abi::AT_FDCWD, path, mode)
}

pub(super) fn mkdirat(directory: i32, path: usize, mode: u32) -> Result {
    let path = user::read_path(path)?;
    let (parent, name) = path::resolve_new(start(directory, &path)?.as_ref(), &path, true)?;
    let mode = masked(mode & 0o1777);
    parent.add(&name, &Node::directory(parent.system, mode)).map(|()| 0)
}

pub(super) fn mknod(path: usize, mode: u32, device: u64) -> Result {
    mknodat(abi::AT_FDCWD, path, mode, device)
}

pub(super) fn mknodat(directory: i32, path: usize, mode: u32, device: u64) -> Result {
    let path = user::read_path(path)?;
    let (parent, name) = path::resolve_new(start(directory, &path)?.as_ref(), &path, false)?;
    let (major, minor) = (((device >> 8) & 0xfff) as u32, (device & 0xff | (device >> 12) & 0xfff00) as u32);
    let (kind, body) = match mode & kind::MASK {
        0 | kind::REGULAR => (kind::REGULAR, Body::File(Arc::new(Pages::file()))),
        kind @ (kind::CHARACTER | kind::BLOCK) => (kind, Body::Device(major, minor)),
        kind::FIFO => (kind::FIFO, Body::Fifo(Pipe::new())),
        kind::SOCKET => (kind::SOCKET, Body::Socket),
        kind::DIRECTORY => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    parent.add(&name, &Node::new(parent.system, kind | masked(mode), body)).map(|()| 0)
}

/// The last component of a path whose name is to go.
fn existing(directory: i32, path: &[u8]) -> Result<(Last, Arc<Node>)> {
    let last = path::walk(start(directory, path)?.as_ref(), path, Follow::No)?;
    let node = last.node.clone().ok_or(Errno::ENOENT)?;
    Ok((last, node))
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
    let (last, node) = existing(directory, &path)?;
    if flags & abi::AT_REMOVEDIR != 0 {
        match &last.name[..] {
            b"." => return Err(Errno::EINVAL),
            b".." => return Err(Errno::ENOTEMPTY),
            b"" => return Err(Errno::EBUSY),
            name => last.directory.remove_directory(name)?,
        }
    } else {
        if node.is_directory() {
            return Err(Errno::EISDIR);
        }
        last.directory.unlink(&last.name)?;
    }
    Ok(0)
}

pub(super) fn link(old: usize, new: usize) -> Result {
    linkat(abi::AT_FDCWD, old, abi::AT_FDCWD, new, 0)
}

pub(super) fn linkat(old_at: i32, old: usize, new_at: i32, new: usize, flags: u32) -> Result {
    let follow = if flags & abi::AT_SYMLINK_FOLLOW != 0 { 0 } else { abi::AT_SYMLINK_NOFOLLOW };
    let node = node_at(old_at, old, flags & abi::AT_EMPTY_PATH | follow)?;
    if node.is_directory() {
        return Err(Errno::EPERM);
    }
    let path = user::read_path(new)?;
    let (parent, name) = path::resolve_new(start(new_at, &path)?.as_ref(), &path, false)?;
    if parent.system != node.system {
        return Err(Errno::EXDEV);
    }
    parent.add(&name, &node)?;
    node.change(|meta| meta.links += 1);
    Ok(0)
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
    parent.add(&name, &Node::new(parent.system, kind::LINK | 0o777, Body::Link(target))).map(|()| 0)
}

pub(super) fn rename(old: usize, new: usize) -> Result {
    renameat2(abi::AT_FDCWD, old, abi::AT_FDCWD, new, 0)
}

pub(super) fn renameat(old_at: i32, old: usize, new_at: i32, new: usize) -> Result {
    renameat2(old_at, old, new_at, new, 0)
}

pub(super) fn renameat2(old_at: i32, old: usize, new_at: i32, new: usize, flags: u32) -> Result {
    const NO_REPLACE: u32 = 1;
    if flags & !NO_REPLACE != 0 {
        return Err(Errno::EINVAL);
    }
    let (old, new) = (user::read_path(old)?, user::read_path(new)?);
    let (from, node) = existing(old_at, &old)?;
    let to = path::walk(start(new_at, &new)?.as_ref(), &new, Follow::No)?;
    let special = |name: &[u8]| matches!(name, b"" | b"." | b"..");
    if special(&from.name) || special(&to.name) {
        return Err(Errno::EBUSY);
    }
    if (from.must_be_directory || to.must_be_directory) && !node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    let same = from.directory.system == to.directory.system;
    if !same {
        return Err(Errno::EXDEV);
    }
    from.directory.rename(&from.name, &to.directory, &to.name, flags & NO_REPLACE != 0).map(|()| 0)
}

pub(super) fn getcwd(to: usize, size: usize) -> Result {
    let directory = current().process.fs.directory.lock().clone();
    if directory.meta().links == 0 {
        return Err(Errno::ENOENT);
    }
    let mut path = directory.path();
    path.push(0);
    if path.len() > size {
        return Err(Errno::ERANGE);
    }
    user::copy_out(to, &path)?;
    Ok(path.len())
}

fn change_directory(node: Arc<Node>) -> Result {
    if !node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    let old = core::mem::replace(&mut *current().process.fs.directory.lock(), node);
    drop(old);
    Ok(0)
}

pub(super) fn chdir(path: usize) -> Result {
    change_directory(node_at(abi::AT_FDCWD, path, 0)?)
}

pub(super) fn fchdir(fd: i32) -> Result {
    change_directory(current().files.get(fd)?.node.clone())
}

pub(super) fn chroot(path: usize) -> Result {
    let node = node_at(abi::AT_FDCWD, path, 0)?;
    if !node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    *current().process.fs.root.lock() = node;
    Ok(0)
}

fn set_mode(node: &Node, mode: u32) -> Result {
    node.change(|meta| meta.mode = meta.mode & kind::MASK | mode & 0o7777);
    Ok(0)
}

pub(super) fn chmod(path: usize, mode: u32) -> Result {
    set_mode(&*node_at(abi::AT_FDCWD, path, 0)?, mode)
}

pub(super) fn fchmod(fd: i32, mode: u32) -> Result {
    set_mode(&current().files.get(fd)?.node, mode)
}

pub(super) fn fchmodat(directory: i32, path: usize, mode: u32) -> Result {
    set_mode(&*node_at(directory, path, 0)?, mode)
}

/// As fchmodat, but it can be told to stay at a symbolic link, whose mode cannot be changed.
pub(super) fn fchmodat2(directory: i32, path: usize, mode: u32, flags: u32) -> Result {
    if flags & !(abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let node = node_at(directory, path, flags)?;
    if node.kind() == kind::LINK { Err(Errno::EOPNOTSUPP) } else { set_mode(&node, mode) }
}

fn set_owner(node: &Node, uid: u32, gid: u32) -> Result {
    node.change(|meta| {
        meta.uid = if uid == u32::MAX { meta.uid } else { uid };
        meta.gid = if gid == u32::MAX { meta.gid } else { gid };
    });
    Ok(0)
}

pub(super) fn chown(path: usize, uid: u32, gid: u32) -> Result {
    fchownat(abi::AT_FDCWD, path, uid, gid, 0)
}

pub(super) fn lchown(path: usize, uid: u32, gid: u32) -> Result {
    fchownat(abi::AT_FDCWD, path, uid, gid, abi::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn fchown(fd: i32, uid: u32, gid: u32) -> Result {
    set_owner(&current().files.get(fd)?.node, uid, gid)
}

pub(super) fn fchownat(directory: i32, path: usize, uid: u32, gid: u32, flags: u32) -> Result {
    set_owner(&*node_at(directory, path, flags)?, uid, gid)
}

pub(super) fn umask(mask: u32) -> Result {
    Ok(current().process.fs.umask.swap(mask & 0o777, Ordering::Relaxed) as usize)
}

fn set_times(node: &Node, times: [Option<u64>; 2]) -> Result {
    node.change(|meta| {
        meta.accessed = times[0].unwrap_or(meta.accessed);
        meta.modified = times[1].unwrap_or(meta.modified);
    });
    Ok(0)
}

pub(super) fn utimensat(directory: i32, path: usize, times: usize, flags: u32) -> Result {
    let node = if path == 0 {
        current().files.get(directory)?.node.clone()
    } else {
        node_at(directory, path, flags)?
    };
    let now = time::wall_ns();
    if times == 0 {
        return set_times(&node, [Some(now); 2]);
    }
    let values: [TimeSpec; 2] = user::read(times)?;
    let mut chosen = [None; 2];
    for (value, chosen) in values.iter().zip(&mut chosen) {
        *chosen = match value.nanoseconds as u32 {
            abi::UTIME_NOW => Some(now),
            abi::UTIME_OMIT => None,
            _ => Some(value.to_ns()?),
        };
    }
    set_times(&node, chosen)
}

pub(super) fn utimes(path: usize, times: usize) -> Result {
    let node = node_at(abi::AT_FDCWD, path, 0)?;
    if times == 0 {
        return set_times(&node, [Some(time::wall_ns()); 2]);
    }
    let [accessed, modified]: [TimeVal; 2] = user::read(times)?;
    set_times(&node, [Some(accessed.to_ns()?), Some(modified.to_ns()?)])
}

pub(super) fn utime(path: usize, times: usize) -> Result {
    let node = node_at(abi::AT_FDCWD, path, 0)?;
    if times == 0 {
        return set_times(&node, [Some(time::wall_ns()); 2]);
    }
    let values: [i64; 2] = user::read(times)?;
    let [accessed, modified] = values.map(|seconds| TimeSpec { seconds, nanoseconds: 0 }.to_ns());
    set_times(&node, [Some(accessed?), Some(modified?)])
}

fn set_size(node: &Node, size: i64) -> Result {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size > current().process.limits.lock()[index::FSIZE].soft {
        return Err(Errno::EFBIG);
    }
    match &node.body {
        Body::File(pages) => pages.truncate(size)?,
        Body::Directory(_) | Body::Dynamic(_) => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    node.touch();
    Ok(0)
}

pub(super) fn truncate(path: usize, size: i64) -> Result {
    set_size(&*node_at(abi::AT_FDCWD, path, 0)?, size)
}

pub(super) fn ftruncate(fd: i32, size: i64) -> Result {
    let file = current().files.get(fd)?;
    if file.can_write() { set_size(&file.node, size) } else { Err(Errno::EINVAL) }
}

/// Space is given when it is written to; only the size is set here.
pub(super) fn fallocate(fd: i32, mode: u32, offset: i64, length: i64) -> Result {
    let file = current().files.get(fd)?;
    let end = offset.checked_add(length).filter(|_| offset >= 0 && length > 0).ok_or(Errno::EINVAL)?;
    match (&file.node.body, mode) {
        (Body::File(pages), 0) if pages.size() < end as u64 => set_size(&file.node, end),
        (Body::File(_), 0) => Ok(0),
        (Body::File(_), _) => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::ENODEV),
    }
}

pub(super) fn getdents64(fd: i32, to: usize, size: usize) -> Result {
    /// Bytes of `struct linux_dirent64` before the name.
    const HEADER: usize = 19;
    let file = current().files.get(fd)?;
    if !file.node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    let size = size.min(64 * 1024);
    let mut out = Vec::new();
    let mut too_small = false;
    file.read_entries(|name, kind, inode, position| {
        let length = (HEADER + name.len() + 1).next_multiple_of(8);
        if out.len() + length > size {
            too_small = out.is_empty();
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
    if too_small {
        return Err(Errno::EINVAL);
    }
    user::copy_out(to, &out)?;
    Ok(out.len())
}

pub(super) fn mount(source: usize, target: usize, kind: usize) -> Result {
    let source = if source == 0 { b"none".to_vec() } else { user::read_path(source)? };
    let node = node_at(abi::AT_FDCWD, target, 0)?;
    let kind = user::read_path(kind)?;
    mounts::mount(&source, &node, &kind).map(|()| 0)
}

pub(super) fn umount2(target: usize, _flags: u32) -> Result {
    mounts::unmount(&node_at(abi::AT_FDCWD, target, 0)?).map(|()| 0)
}
