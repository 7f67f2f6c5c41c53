// SPDX-License-Identifier: MIT OR Apache-2.0
//! read, write and their family.

use alloc::sync::Arc;

use linux_raw_sys::general::O_NONBLOCK;

use super::sockets;
use crate::{
    errno::{Errno, Result},
    fs::OpenFile,
    task::current,
    user,
};

fn file(fd: i32) -> Result<Arc<OpenFile>> {
    current().files.get(fd)
}

pub(super) fn read(fd: i32, to: usize, length: usize) -> Result {
    file(fd)?.read(to, length)
}

pub(super) fn write(fd: i32, from: usize, length: usize) -> Result {
    file(fd)?.write(from, length)
}

fn offset_of(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Errno::EINVAL)
}

pub(super) fn pread64(fd: i32, to: usize, length: usize, offset: i64) -> Result {
    file(fd)?.read_at(offset_of(offset)?, to, length)
}

pub(super) fn pwrite64(fd: i32, from: usize, length: usize, offset: i64) -> Result {
    file(fd)?.write_at(offset_of(offset)?, from, length)
}

pub(super) fn readv(fd: i32, vector: usize, count: usize) -> Result {
    let file = file(fd)?;
    let parts = user::read_vector(vector, count)?;
    if let Some(socket) = file.file().socket() {
        return sockets::read_vector(socket, file.flags() & O_NONBLOCK != 0, &parts);
    }
    user::each_part(&parts, |base, length, _| file.read(base, length))
}

pub(super) fn writev(fd: i32, vector: usize, count: usize) -> Result {
    let file = file(fd)?;
    let parts = user::read_vector(vector, count)?;
    if let Some(socket) = file.file().socket() {
        return sockets::write_vector(socket, file.flags() & O_NONBLOCK != 0, &parts);
    }
    user::each_part(&parts, |base, length, _| file.write(base, length))
}

pub(super) fn preadv(fd: i32, vector: usize, count: usize, offset: i64) -> Result {
    let (file, offset) = (file(fd)?, offset_of(offset)?);
    user::each_part(&user::read_vector(vector, count)?, |base, length, done| {
        file.read_at(offset.saturating_add(done as u64), base, length)
    })
}

pub(super) fn pwritev(fd: i32, vector: usize, count: usize, offset: i64) -> Result {
    let (file, offset) = (file(fd)?, offset_of(offset)?);
    user::each_part(&user::read_vector(vector, count)?, |base, length, done| {
        file.write_at(offset.saturating_add(done as u64), base, length)
    })
}

/// The flags of preadv2 and pwritev2 are wishes about waiting and writing through that no file here can grant.
fn no_wishes(flags: u32) -> Result<()> {
    if flags == 0 { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

/// As preadv; an offset of -1 stands for the file's position. The offset's upper half counts on 32-bit machines only.
pub(super) fn preadv2(fd: i32, vector: usize, count: usize, offset: i64, _high: u64, flags: u32) -> Result {
    no_wishes(flags)?;
    if offset == -1 { readv(fd, vector, count) } else { preadv(fd, vector, count, offset) }
}

pub(super) fn pwritev2(fd: i32, vector: usize, count: usize, offset: i64, _high: u64, flags: u32) -> Result {
    no_wishes(flags)?;
    if offset == -1 { writev(fd, vector, count) } else { pwritev(fd, vector, count, offset) }
}

pub(super) fn lseek(fd: i32, distance: i64, whence: u32) -> Result {
    file(fd)?.seek(distance, whence)
}

pub(super) fn fsync(fd: i32) -> Result {
    file(fd)?.file().sync().map(|()| 0)
}

/// Nothing is read ahead or kept, whatever a program says that it will do.
pub(super) fn fadvise64(fd: i32) -> Result {
    file(fd).map(|_| 0)
}
