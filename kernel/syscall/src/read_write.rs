// SPDX-License-Identifier: MIT OR Apache-2.0
//! read, write and their family.

use alloc::sync::Arc;

use linux_raw_sys::general as abi;

use super::attributes::opened;
use crate::{
    errno::{Errno, Result},
    fs::{OpenFile, inode::kind, io::Call},
    io_buf::{IoBuf, IoSource},
    task::current,
    user::{self, IoVec},
};

fn file(fd: i32) -> Result<Arc<OpenFile>> {
    current().files.get(fd)
}

/// Counts a call that reads.
fn has_read(result: Result) -> Result {
    current().account.read(*result.as_ref().unwrap_or(&0));
    result
}

/// Counts a call that writes.
fn has_written(result: Result) -> Result {
    current().account.wrote(*result.as_ref().unwrap_or(&0));
    result
}

pub(super) fn read(fd: i32, to: usize, length: usize) -> Result {
    let task = current();
    let result = task.files.get(fd)?.read(&mut IoBuf::user(to, length));
    task.account.read(*result.as_ref().unwrap_or(&0));
    result
}

pub(super) fn write(fd: i32, from: usize, length: usize) -> Result {
    let task = current();
    let result = task.files.get(fd)?.write(&mut IoSource::user(from, length));
    task.account.wrote(*result.as_ref().unwrap_or(&0));
    result
}

fn offset_of(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Errno::EINVAL)
}

pub(super) fn pread64(fd: i32, to: usize, length: usize, offset: i64) -> Result {
    let (file, offset) = (file(fd)?, offset_of(offset)?);
    has_read(file.read_at(offset, &mut IoBuf::user(to, length)))
}

pub(super) fn pwrite64(fd: i32, from: usize, length: usize, offset: i64) -> Result {
    let (file, offset) = (file(fd)?, offset_of(offset)?);
    has_written(file.write_at(offset, &mut IoSource::user(from, length)))
}

fn read_vector(file: &OpenFile, offset: Option<u64>, vector: usize, count: usize) -> Result {
    let parts = user::read_vector(vector, count)?;
    let (call, mut to) = (file.call(offset), IoBuf::vector(&parts));
    if to.is_empty() {
        // As on Linux, the file is not asked then.
        return file.check(false, call, 0).map(|()| 0);
    }
    has_read(file.read_as(call, &mut to))
}

fn write_vector(file: &OpenFile, call: Call, vector: usize, count: usize) -> Result {
    let parts = user::read_vector(vector, count)?;
    write_parts(file, call, &parts)
}

fn write_parts(file: &OpenFile, call: Call, parts: &[IoVec]) -> Result {
    let mut from = IoSource::vector(parts);
    if from.is_empty() {
        return file.check(true, call, 0).map(|()| 0);
    }
    has_written(file.write_as(call, &mut from))
}

pub(super) fn readv(fd: i32, vector: usize, count: usize) -> Result {
    read_vector(&*file(fd)?, None, vector, count)
}

pub(super) fn writev(fd: i32, vector: usize, count: usize) -> Result {
    let file = file(fd)?;
    write_vector(&file, file.call(None), vector, count)
}

pub(super) fn preadv(fd: i32, vector: usize, count: usize, offset: i64) -> Result {
    let (file, offset) = (file(fd)?, offset_of(offset)?);
    read_vector(&file, Some(offset), vector, count)
}

pub(super) fn pwritev(fd: i32, vector: usize, count: usize, offset: i64) -> Result {
    let (file, offset) = (file(fd)?, offset_of(offset)?);
    write_vector(&file, file.call(Some(offset)), vector, count)
}

/// Flags of preadv2 and pwritev2 that every file can grant: polling for a device, and writing through to where it stays, which is
/// where it is.
const GRANTED: u32 = abi::RWF_HIPRI | abi::RWF_DSYNC | abi::RWF_SYNC;

/// EOPNOTSUPP for a flag that the file cannot grant.
fn check_flags(flags: u32, more: u32) -> Result<()> {
    if flags & !(GRANTED | more) != 0 { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

/// As preadv; an offset of -1 stands for the file's position. The offset's upper half counts on 32-bit machines only.
pub(super) fn preadv2(fd: i32, vector: usize, count: usize, offset: i64, _high: u64, flags: u32) -> Result {
    check_flags(flags, 0)?;
    if offset == -1 { readv(fd, vector, count) } else { preadv(fd, vector, count, offset) }
}

pub(super) fn pwritev2(fd: i32, vector: usize, count: usize, offset: i64, _high: u64, flags: u32) -> Result {
    let file = file(fd)?;
    let offset = if offset == -1 { None } else { Some(offset_of(offset)?) };
    let parts = user::read_vector(vector, count)?;
    check_flags(flags, BOTH_APPENDS)?;
    if flags & BOTH_APPENDS == BOTH_APPENDS {
        return Err(Errno::EINVAL);
    }
    let call = file.call(offset);
    let append = (call.append || flags & abi::RWF_APPEND != 0) && flags & RWF_NOAPPEND == 0;
    write_parts(&file, Call { append, ..call }, &parts)
}

/// Not at the end, whatever O_APPEND says.
const RWF_NOAPPEND: u32 = 0x20;
const BOTH_APPENDS: u32 = abi::RWF_APPEND | RWF_NOAPPEND;

pub(super) fn lseek(fd: i32, distance: i64, whence: u32) -> Result {
    file(fd)?.seek(distance, whence)
}

pub(super) fn fsync(fd: i32) -> Result {
    opened(fd)?.file().sync().map(|()| 0)
}

/// Files in memory are where they stay; disks write through.
pub(super) fn syncfs(fd: i32) -> Result {
    opened(fd).map(|_| 0)
}

/// As [`syncfs`], for a part of a file.
pub(super) fn sync_file_range(fd: i32, offset: i64, length: i64, flags: u32) -> Result {
    const KNOWN: u32 =
        abi::SYNC_FILE_RANGE_WAIT_BEFORE | abi::SYNC_FILE_RANGE_WRITE | abi::SYNC_FILE_RANGE_WAIT_AFTER;
    let file = opened(fd)?;
    let end = offset.checked_add(length);
    if flags & !KNOWN != 0 || offset < 0 || end.is_none_or(|end| end < offset) {
        return Err(Errno::EINVAL);
    }
    match file.node().kind() {
        kind::REGULAR | kind::BLOCK | kind::DIRECTORY | kind::LINK => Ok(0),
        _ => Err(Errno::ESPIPE),
    }
}

/// Nothing is read ahead or kept, whatever a program says that it will do.
pub(super) fn fadvise64(fd: i32, _offset: i64, length: i64, advice: u32) -> Result {
    let file = opened(fd)?;
    if file.node().kind() == kind::FIFO {
        return Err(Errno::ESPIPE);
    }
    if length < 0 || advice > abi::POSIX_FADV_NOREUSE { Err(Errno::EINVAL) } else { Ok(0) }
}

/// As [`fadvise64`].
pub(super) fn readahead(fd: i32, _offset: i64, _count: usize) -> Result {
    let file = opened(fd)?;
    if !file.can_read() {
        return Err(Errno::EBADF);
    }
    if matches!(file.node().kind(), kind::REGULAR | kind::BLOCK) { Ok(0) } else { Err(Errno::EINVAL) }
}
