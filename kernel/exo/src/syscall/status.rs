// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file is: stat and its family, access, readlink, statfs.

use alloc::sync::Arc;

use exo_hal::{PAGE_SIZE, mm::frame};
use linux_raw_sys::general as abi;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::open::start;
use crate::{
    errno::{Errno, Result},
    fs::{
        node::{Body, FileSystem, NAME_MAX, Node},
        path::{self, Follow},
    },
    task::current,
    user::{self, TimeSpec},
};

/// `struct stat`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Stat {
    device: u64,
    inode: u64,
    links: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    pad: u32,
    special: u64,
    size: i64,
    block_size: i64,
    blocks: i64,
    accessed: TimeSpec,
    modified: TimeSpec,
    changed: TimeSpec,
    reserved: [i64; 3],
}

/// A device number as `st_rdev` has it.
fn device_number(node: &Node) -> (u32, u32) {
    match node.body {
        Body::Device(major, minor) => (major, minor),
        _ => (0, 0),
    }
}

fn resident_blocks(node: &Node) -> u64 {
    match &node.body {
        Body::File(pages) => pages.resident() as u64 * (PAGE_SIZE as u64 / 512),
        _ => 0,
    }
}

fn stat_of(node: &Node) -> Stat {
    let meta = node.meta();
    let (major, minor) = device_number(node);
    Stat {
        device: node.system as u64,
        inode: node.number,
        links: u64::from(meta.links),
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        special: (u64::from(major) << 8) | u64::from(minor & 0xff) | (u64::from(minor >> 8) << 20),
        size: node.size() as i64,
        block_size: PAGE_SIZE as i64,
        blocks: resident_blocks(node) as i64,
        accessed: TimeSpec::from_ns(meta.accessed),
        modified: TimeSpec::from_ns(meta.modified),
        changed: TimeSpec::from_ns(meta.changed),
        ..Stat::default()
    }
}

/// The node that (directory, path, AT_ flags) names.
pub(super) fn node_at(directory: i32, path: usize, flags: u32) -> Result<Arc<Node>> {
    let path = user::read_path(path)?;
    if path.is_empty() {
        if flags & abi::AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        if directory == abi::AT_FDCWD {
            return Ok(current().process.fs.directory.lock().clone());
        }
        return Ok(current().files.get(directory)?.node.clone());
    }
    let follow = if flags & abi::AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
    path::resolve(start(directory, &path)?.as_ref(), &path, follow)
}

pub(super) fn stat(path: usize, to: usize) -> Result {
    newfstatat(abi::AT_FDCWD, path, to, 0)
}

pub(super) fn lstat(path: usize, to: usize) -> Result {
    newfstatat(abi::AT_FDCWD, path, to, abi::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn fstat(fd: i32, to: usize) -> Result {
    let file = current().files.get(fd)?;
    user::write(to, &stat_of(&file.node)).map(|()| 0)
}

pub(super) fn newfstatat(directory: i32, path: usize, to: usize, flags: u32) -> Result {
    let node = node_at(directory, path, flags)?;
    user::write(to, &stat_of(&node)).map(|()| 0)
}

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct StatxTime {
    seconds: i64,
    nanoseconds: u32,
    pad: i32,
}

impl StatxTime {
    fn new(ns: u64) -> Self {
        let time = TimeSpec::from_ns(ns);
        Self { seconds: time.seconds, nanoseconds: time.nanoseconds as u32, pad: 0 }
    }
}

/// `struct statx`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Statx {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    pad: u16,
    inode: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    accessed: StatxTime,
    born: StatxTime,
    changed: StatxTime,
    modified: StatxTime,
    special: [u32; 2],
    device: [u32; 2],
    mount: u64,
    reserved: [u64; 13],
}

pub(super) fn statx(directory: i32, path: usize, flags: u32, _mask: u32, to: usize) -> Result {
    let node = node_at(directory, path, flags)?;
    let meta = node.meta();
    let (major, minor) = device_number(&node);
    let status = Statx {
        mask: abi::STATX_BASIC_STATS,
        block_size: PAGE_SIZE as u32,
        links: meta.links,
        uid: meta.uid,
        gid: meta.gid,
        mode: meta.mode as u16,
        inode: node.number,
        size: node.size(),
        blocks: resident_blocks(&node),
        accessed: StatxTime::new(meta.accessed),
        changed: StatxTime::new(meta.changed),
        modified: StatxTime::new(meta.modified),
        special: [major, minor],
        device: [0, node.system as u32],
        ..Statx::default()
    };
    user::write(to, &status).map(|()| 0)
}

pub(super) fn access(path: usize, mode: u32) -> Result {
    faccessat(abi::AT_FDCWD, path, mode)
}

pub(super) fn faccessat(directory: i32, path: usize, mode: u32) -> Result {
    faccessat2(directory, path, mode, 0)
}

pub(super) fn faccessat2(directory: i32, path: usize, mode: u32, flags: u32) -> Result {
    if mode & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let node = node_at(directory, path, flags)?;
    // All is root's; even root executes only what somebody may execute.
    if mode & 1 != 0 && !node.is_directory() && !node.is_executable() { Err(Errno::EACCES) } else { Ok(0) }
}

pub(super) fn readlink(path: usize, to: usize, size: usize) -> Result {
    readlinkat(abi::AT_FDCWD, path, to, size)
}

pub(super) fn readlinkat(directory: i32, path: usize, to: usize, size: usize) -> Result {
    if size == 0 || size > i32::MAX as usize {
        return Err(Errno::EINVAL);
    }
    let node = node_at(directory, path, abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH)?;
    let target = node.read_link()?;
    let part = target.get(..size.min(target.len())).unwrap_or_default();
    user::copy_out(to, part)?;
    Ok(part.len())
}

/// `struct statfs`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct StatFs {
    kind: i64,
    block_size: i64,
    blocks: u64,
    free: u64,
    available: u64,
    files: u64,
    files_free: u64,
    id: [i32; 2],
    name_length: i64,
    fragment_size: i64,
    flags: i64,
    spare: [i64; 4],
}

fn write_statfs(node: &Node, to: usize) -> Result {
    let (total, free) = frame::totals();
    // Magic numbers as in Linux's magic.h.
    let (kind, total, free) = match node.system {
        FileSystem::Processes => (0x9fa0, 0, 0),
        FileSystem::System => (0x6265_6572, 0, 0),
        FileSystem::Anonymous => (0x5049_5045, 0, 0),
        _ => (0x0102_1994, total as u64, free as u64),
    };
    let status = StatFs {
        kind,
        block_size: PAGE_SIZE as i64,
        blocks: total,
        free,
        available: free,
        name_length: NAME_MAX as i64,
        fragment_size: PAGE_SIZE as i64,
        ..StatFs::default()
    };
    user::write(to, &status).map(|()| 0)
}

pub(super) fn statfs(path: usize, to: usize) -> Result {
    write_statfs(&*node_at(abi::AT_FDCWD, path, 0)?, to)
}

pub(super) fn fstatfs(fd: i32, to: usize) -> Result {
    let file = current().files.get(fd)?;
    write_statfs(&file.node, to)
}
