// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls about extended attributes: by a path, by a path that may be a link itself, by a descriptor.

use alloc::vec::Vec;

use linux_raw_sys::general as abi;

use super::{attributes::opened, lookup::node_at};
use crate::{
    errno::{Errno, Result},
    fallible,
    fs::{
        path::Path,
        xattr::{self, When},
    },
    user,
};

/// Bounds of Linux's `linux/limits.h`: a name, a value, the list of names.
const NAME_MAX: usize = 255;
const SIZE_MAX: usize = 65536;
const LIST_MAX: usize = 65536;
const CREATE: u32 = 1;
const REPLACE: u32 = 2;

fn name_at(address: usize) -> Result<Vec<u8>> {
    let name = user::read_string(address, NAME_MAX + 1, Errno::ERANGE)?;
    if name.is_empty() { Err(Errno::ERANGE) } else { Ok(name) }
}

fn followed(path: usize) -> Result<Path> {
    node_at(abi::AT_FDCWD, path, 0)
}

fn unfollowed(path: usize) -> Result<Path> {
    node_at(abi::AT_FDCWD, path, abi::AT_SYMLINK_NOFOLLOW)
}

fn of_descriptor(fd: i32) -> Result<Path> {
    Ok(opened(fd)?.path())
}

/// The file is found last: what is wrong with the other arguments is said first, as on Linux.
fn set_at(path: impl FnOnce() -> Result<Path>, name: usize, value: usize, size: usize, flags: u32) -> Result {
    if flags & !(CREATE | REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = name_at(name)?;
    if size > SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let mut bytes = fallible::list(size)?;
    bytes.resize(size, 0);
    user::copy_in(&mut bytes, value)?;
    let when = match flags {
        CREATE => When::New,
        0 => When::Always,
        // Both: an attribute cannot be new and exist.
        _ => When::Exists,
    };
    let path = path()?;
    if flags == CREATE | REPLACE && xattr::get(&path, &name).is_ok() {
        return Err(Errno::EEXIST);
    }
    xattr::set(&path, &name, bytes, when).map(|()| 0)
}

/// Copies what fits; its size alone if there is no room at all.
fn give(bytes: &[u8], to: usize, size: usize) -> Result {
    if size == 0 {
        return Ok(bytes.len());
    }
    if bytes.len() > size {
        return Err(Errno::ERANGE);
    }
    user::copy_out(to, bytes)?;
    Ok(bytes.len())
}

fn get_at(path: impl FnOnce() -> Result<Path>, name: usize, to: usize, size: usize) -> Result {
    let name = name_at(name)?;
    let value = xattr::get(&*path()?, &name)?;
    give(&value, to, size)
}

fn list_at(path: impl FnOnce() -> Result<Path>, to: usize, size: usize) -> Result {
    let names = xattr::list(&*path()?);
    if names.len() > LIST_MAX {
        return Err(Errno::E2BIG);
    }
    give(&names, to, size)
}

fn remove_at(path: impl FnOnce() -> Result<Path>, name: usize) -> Result {
    let name = name_at(name)?;
    xattr::remove(&path()?, &name).map(|()| 0)
}

pub(super) fn setxattr(path: usize, name: usize, value: usize, size: usize, flags: u32) -> Result {
    set_at(|| followed(path), name, value, size, flags)
}

pub(super) fn lsetxattr(path: usize, name: usize, value: usize, size: usize, flags: u32) -> Result {
    set_at(|| unfollowed(path), name, value, size, flags)
}

pub(super) fn fsetxattr(fd: i32, name: usize, value: usize, size: usize, flags: u32) -> Result {
    let path = of_descriptor(fd)?;
    set_at(|| Ok(path), name, value, size, flags)
}

pub(super) fn getxattr(path: usize, name: usize, to: usize, size: usize) -> Result {
    get_at(|| followed(path), name, to, size)
}

pub(super) fn lgetxattr(path: usize, name: usize, to: usize, size: usize) -> Result {
    get_at(|| unfollowed(path), name, to, size)
}

pub(super) fn fgetxattr(fd: i32, name: usize, to: usize, size: usize) -> Result {
    let path = of_descriptor(fd)?;
    get_at(|| Ok(path), name, to, size)
}

pub(super) fn listxattr(path: usize, to: usize, size: usize) -> Result {
    list_at(|| followed(path), to, size)
}

pub(super) fn llistxattr(path: usize, to: usize, size: usize) -> Result {
    list_at(|| unfollowed(path), to, size)
}

pub(super) fn flistxattr(fd: i32, to: usize, size: usize) -> Result {
    list_at(|| of_descriptor(fd), to, size)
}

pub(super) fn removexattr(path: usize, name: usize) -> Result {
    remove_at(|| followed(path), name)
}

pub(super) fn lremovexattr(path: usize, name: usize) -> Result {
    remove_at(|| unfollowed(path), name)
}

pub(super) fn fremovexattr(fd: i32, name: usize) -> Result {
    let path = of_descriptor(fd)?;
    remove_at(|| Ok(path), name)
}
