// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program does with files: names, new ones, bytes.

use std::sync::Arc;

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
};
use exo_hal::mm::user;
use exo_vfs::{
    OpenFile,
    inode::{Inode, InodeContent, directory::What, kind},
    open::open_path,
    path::{self, Follow, Path},
};

use super::MEMORY;

/// What a path names, which is there.
#[track_caller]
pub(crate) fn at(path: &str) -> Path {
    resolve(path).unwrap_or_else(|error| panic!("{path}: {error:?}"))
}

/// What a path names.
pub(crate) fn resolve(path: &str) -> Result<Path, Errno> {
    path::resolve(None, path.as_bytes(), Follow::Yes)
}

/// What a path names, which may be a symbolic link.
#[track_caller]
pub(crate) fn at_link(path: &str) -> Path {
    path::resolve(None, path.as_bytes(), Follow::No).unwrap_or_else(|error| panic!("{path}: {error:?}"))
}

/// Whether a path leads to anything.
pub(crate) fn exists(path: &str) -> bool {
    resolve(path).is_ok()
}

/// Gives an inode a name, as the calls do that make one.
pub(crate) fn make(path: &str, node: impl FnOnce(&Path) -> Arc<Inode>) -> Result<(), Errno> {
    let is_directory = path.ends_with('/');
    let (parent, name) = path::resolve_new(None, path.as_bytes(), is_directory)?;
    let node = node(&parent);
    parent.dentry.add(&name, &node).map(drop)
}

/// Makes something, as the calls do.
pub(crate) fn make_new(path: &str, what: What<'_>, permissions: u32) -> Result<(), Errno> {
    let (parent, name) = path::resolve_new(None, path.as_bytes(), matches!(what, What::Directory))?;
    parent.create(&name, what, permissions).map(drop)
}

#[track_caller]
pub(crate) fn make_directory(path: &str) {
    make_new(path, What::Directory, 0o755).unwrap();
}

#[track_caller]
pub(crate) fn make_file(path: &str) {
    make_new(path, What::File, 0o644).unwrap();
}

#[track_caller]
pub(crate) fn make_link(target: &str, path: &str) {
    make_new(path, What::Link(target.as_bytes()), 0o777).unwrap();
}

/// Gives a file another name, as link does.
pub(crate) fn give_name(node: &Arc<Inode>, path: &str) -> Result<(), Errno> {
    let (parent, name) = path::resolve_new(None, path.as_bytes(), false)?;
    parent.link(&name, node)
}

/// Makes something of another kind.
pub(crate) fn make_with(path: &str, mode: u32, content: InodeContent) -> Result<(), Errno> {
    make(path, |parent| Inode::new(parent.superblock.clone(), mode, content))
}

/// Changes the permission bits and the owner.
pub(crate) fn change(path: &str, permissions: u32, user: u32, group: u32) {
    at(path).change(|metadata| {
        metadata.mode = metadata.mode & kind::MASK | permissions;
        metadata.uid = user;
        metadata.gid = group;
    });
}

/// Opens a file that is there.
pub(crate) fn try_open(path: &str, flags: u32) -> Result<Arc<OpenFile>, Errno> {
    open_path(&resolve(path)?, flags)
}

#[track_caller]
pub(crate) fn open(path: &str, flags: u32) -> Arc<OpenFile> {
    try_open(path, flags).unwrap_or_else(|error| panic!("{path}: {error:?}"))
}

/// Makes a file and opens it to be read and written.
#[track_caller]
pub(crate) fn create(path: &str) -> Arc<OpenFile> {
    make_file(path);
    open(path, linux_raw_sys::general::O_RDWR)
}

/// Puts bytes at the start of the program's memory.
pub(crate) fn fill(bytes: &[u8]) {
    user::copy_out(MEMORY, bytes).unwrap();
}

/// The first bytes of the program's memory.
pub(crate) fn memory(count: usize) -> Vec<u8> {
    let mut out = vec![0; count];
    user::copy_in(&mut out, MEMORY).unwrap();
    out
}

/// The program writes to an open file.
pub(crate) fn write(file: &OpenFile, bytes: &[u8]) -> Result<usize, Errno> {
    fill(bytes);
    file.write(&mut IoSource::user(MEMORY, bytes.len()))
}

/// The program reads from an open file.
pub(crate) fn read(file: &OpenFile, count: usize) -> Result<Vec<u8>, Errno> {
    file.read(&mut IoBuf::user(MEMORY, count)).map(memory)
}

/// What a file has in it.
pub(crate) fn content(path: &str) -> Vec<u8> {
    let file = open(path, linux_raw_sys::general::O_RDONLY);
    let mut out = vec![0; file.node().size() as usize];
    file.read_at(0, &mut IoBuf::kernel(&mut out)).unwrap();
    out
}

/// The names in a directory.
pub(crate) fn names(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let each = |name: &[u8], _, _, _| {
        names.push(String::from_utf8(name.to_vec()).unwrap());
        true
    };
    at(path).dentry.list(0, each).unwrap();
    names
}

/// What a text says that is made when it is read.
pub(crate) fn content_of_text(path: &str) -> Vec<u8> {
    let file = open(path, linux_raw_sys::general::O_RDONLY);
    let mut out = vec![0; 4096];
    let count = file.read_at(0, &mut IoBuf::kernel(&mut out)).unwrap();
    out.truncate(count);
    out
}
