// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file is: stat and its family, access, readlink, statfs.

use core::sync::atomic::Ordering;

use exo_hal::{PAGE_SIZE, mm::frame};
use linux_raw_sys::general as abi;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::lookup::{node_at, node_at_as};
use crate::{
    errno::{Errno, Result},
    fs::{
        inode::{Inode, InodeContent, NAME_MAX, kind},
        path::Path,
        permission::{self, Caller},
    },
    task::current,
    user::{self, TimeSpec},
};

/// `STATX_ATTR_MOUNT_ROOT`.
const MOUNT_ROOT: u64 = 0x2000;

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
fn device_number(node: &Inode) -> (u32, u32) {
    match node.content {
        InodeContent::Device(major, minor) => (major, minor),
        _ => (0, 0),
    }
}

fn resident_blocks(node: &Inode) -> u64 {
    match &node.content {
        InodeContent::File(pages) => pages.resident() as u64 * (PAGE_SIZE as u64 / 512),
        _ => 0,
    }
}

fn stat_of(node: &Inode) -> Stat {
    let metadata = node.metadata();
    let (major, minor) = device_number(node);
    Stat {
        device: node.superblock.device_number(),
        inode: node.number,
        links: u64::from(metadata.links),
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        special: (u64::from(major) << 8) | u64::from(minor & 0xff) | (u64::from(minor >> 8) << 20),
        size: node.size() as i64,
        block_size: PAGE_SIZE as i64,
        blocks: resident_blocks(node) as i64,
        accessed: TimeSpec::from_ns(metadata.accessed),
        modified: TimeSpec::from_ns(metadata.modified),
        changed: TimeSpec::from_ns(metadata.changed),
        ..Stat::default()
    }
}

pub(super) fn stat(path: usize, to: usize) -> Result {
    newfstatat(abi::AT_FDCWD, path, to, 0)
}

pub(super) fn lstat(path: usize, to: usize) -> Result {
    newfstatat(abi::AT_FDCWD, path, to, abi::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn fstat(fd: i32, to: usize) -> Result {
    let file = current().files.get(fd)?;
    user::write(to, &stat_of(file.node())).map(|()| 0)
}

pub(super) fn newfstatat(directory: i32, path: usize, to: usize, flags: u32) -> Result {
    if flags & !(abi::AT_SYMLINK_NOFOLLOW | abi::AT_NO_AUTOMOUNT | abi::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
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

pub(super) fn statx(directory: i32, path: usize, flags: u32, mask: u32, to: usize) -> Result {
    const RESERVED: u32 = 0x8000_0000;
    const KNOWN: u32 = abi::AT_SYMLINK_NOFOLLOW
        | abi::AT_NO_AUTOMOUNT
        | abi::AT_EMPTY_PATH
        | abi::AT_STATX_FORCE_SYNC
        | abi::AT_STATX_DONT_SYNC;
    let both = abi::AT_STATX_FORCE_SYNC | abi::AT_STATX_DONT_SYNC;
    if mask & RESERVED != 0 || flags & !KNOWN != 0 || flags & both == both {
        return Err(Errno::EINVAL);
    }
    let node = node_at(directory, path, flags)?;
    let metadata = node.metadata();
    let (major, minor) = device_number(&node);
    // As on Linux: only these keep it.
    let born = if node.system.holds_files() { abi::STATX_BTIME } else { 0 };
    let status = Statx {
        mask: abi::STATX_BASIC_STATS | abi::STATX_MNT_ID | born,
        attributes: if node.is_mount_root() { MOUNT_ROOT } else { 0 },
        attributes_mask: MOUNT_ROOT,
        born: StatxTime::new(if born != 0 { metadata.born } else { 0 }),
        mount: node.mount.id,
        block_size: PAGE_SIZE as u32,
        links: metadata.links,
        uid: metadata.uid,
        gid: metadata.gid,
        mode: metadata.mode as u16,
        inode: node.number,
        size: node.size(),
        blocks: resident_blocks(&node),
        accessed: StatxTime::new(metadata.accessed),
        changed: StatxTime::new(metadata.changed),
        modified: StatxTime::new(metadata.modified),
        special: [major, minor],
        device: [0, node.superblock.device],
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
    const KNOWN: u32 = abi::AT_EACCESS | abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH;
    if mode & !7 != 0 || flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let caller = if flags & abi::AT_EACCESS != 0 { Caller::current() } else { Caller::real() };
    let node = node_at_as(caller.clone(), directory, path, flags)?;
    let executes = mode & permission::EXECUTE != 0 && !node.is_directory();
    if executes && node.mount.has(abi::MS_NOEXEC) {
        return Err(Errno::EACCES);
    }
    if node.kind() != kind::LINK {
        caller.check(&node, mode)?;
    }
    if mode & permission::WRITE != 0 && node.is_stored() {
        node.check_writable()?;
    }
    Ok(0)
}

/// Whether a path that was read before is empty.
fn is_empty(path: usize) -> bool {
    user::read::<u8>(path).is_ok_and(|first| first == 0)
}

pub(super) fn readlink(path: usize, to: usize, size: usize) -> Result {
    readlinkat(abi::AT_FDCWD, path, to, size)
}

pub(super) fn readlinkat(directory: i32, path: usize, to: usize, size: usize) -> Result {
    if size == 0 || size > i32::MAX as usize {
        return Err(Errno::EINVAL);
    }
    let node = node_at(directory, path, abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH)?;
    let target = node.read_link().map_err(|error| {
        // What an empty path leads to is not a link that was named.
        if error == Errno::EINVAL && is_empty(path) { Errno::ENOENT } else { error }
    })?;
    node.mount.note_access(&node);
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

fn write_statfs(path: &Path, to: usize) -> Result {
    let superblock = &path.superblock;
    let (total, free) = frame::totals();
    let limit = superblock.quota.limit();
    let (blocks, left) = match superblock.system.holds_files() {
        false => (0, 0),
        true if limit > 0 => (limit, limit.saturating_sub(superblock.quota.used())),
        true => (total, free),
    };
    let inodes = superblock.inode_limit.load(Ordering::Relaxed);
    let status = StatFs {
        kind: superblock.system.magic(),
        block_size: PAGE_SIZE as i64,
        blocks: blocks as u64,
        free: left as u64,
        available: left as u64,
        files: inodes as u64,
        files_free: inodes.saturating_sub(superblock.inodes.load(Ordering::Relaxed)) as u64,
        id: [superblock.device as i32, 0],
        name_length: NAME_MAX as i64,
        fragment_size: PAGE_SIZE as i64,
        flags: statfs_flags(path),
        ..StatFs::default()
    };
    user::write(to, &status).map(|()| 0)
}

/// `ST_` bits from Linux's statfs.h, for the `MS_` bits of a mount.
fn statfs_flags(path: &Path) -> i64 {
    const VALID: i64 = 0x20;
    let mount = &path.mount;
    let bits = [
        (abi::MS_NOSUID, 2),
        (abi::MS_NODEV, 4),
        (abi::MS_NOEXEC, 8),
        (abi::MS_NOATIME, 0x400),
        (abi::MS_NODIRATIME, 0x800),
        (abi::MS_RELATIME, 0x1000),
        (abi::MS_NOSYMFOLLOW, 0x2000),
    ];
    let own: i64 = bits.iter().filter(|(flag, _)| mount.has(*flag)).map(|(_, bit)| bit).sum();
    VALID | own | i64::from(mount.is_read_only())
}

pub(super) fn statfs(path: usize, to: usize) -> Result {
    write_statfs(&node_at(abi::AT_FDCWD, path, 0)?, to)
}

pub(super) fn fstatfs(fd: i32, to: usize) -> Result {
    let file = current().files.get(fd)?;
    write_statfs(&file.path(), to)
}
