// SPDX-License-Identifier: MIT OR Apache-2.0
//! open and its family.

use alloc::sync::Arc;

use exo_hal::PAGE_SIZE;
use linux_raw_sys::general as abi;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::lookup::{masked, start};
use crate::{
    errno::{Errno, Result},
    fs::{
        OpenFile,
        inode::{InodeContent, directory::What},
        notify,
        open::open_path,
        path::{self, Follow, Path},
        permission::{self, Caller},
        writing::Writing,
    },
    task::current,
    user,
};

/// The bit of O_TMPFILE that is not O_DIRECTORY.
const TEMPORARY: u32 = abi::O_TMPFILE & !abi::O_DIRECTORY;
/// What open knows.
const KNOWN_FLAGS: u32 = abi::O_ACCMODE
    | abi::O_CREAT
    | abi::O_EXCL
    | abi::O_NOCTTY
    | abi::O_TRUNC
    | abi::O_APPEND
    | abi::O_NONBLOCK
    | abi::O_SYNC
    | abi::FASYNC
    | abi::O_DIRECT
    | LARGE_FILE
    | abi::O_DIRECTORY
    | abi::O_NOFOLLOW
    | abi::O_NOATIME
    | abi::O_CLOEXEC
    | abi::O_PATH
    | TEMPORARY;
/// What it knows together with O_PATH.
const PATH_FLAGS: u32 = abi::O_DIRECTORY | abi::O_NOFOLLOW | abi::O_PATH | abi::O_CLOEXEC;
const RESOLVE_FLAGS: u32 = abi::RESOLVE_NO_XDEV
    | abi::RESOLVE_NO_MAGICLINKS
    | abi::RESOLVE_NO_SYMLINKS
    | abi::RESOLVE_BENEATH
    | abi::RESOLVE_IN_ROOT
    | abi::RESOLVE_CACHED;

pub(super) fn open(path: usize, flags: u32, mode: u32) -> Result {
    openat(abi::AT_FDCWD, path, flags, mode)
}

pub(super) fn creat(path: usize, mode: u32) -> Result {
    openat(abi::AT_FDCWD, path, abi::O_CREAT | abi::O_WRONLY | abi::O_TRUNC, mode)
}

/// O_LARGEFILE as the kernel has it; the C library's is 0 for 64-bit programs.
pub(super) const LARGE_FILE: u32 = 0o100_000;

/// Which of open's flags an open file keeps.
fn kept(flags: u32) -> u32 {
    if flags & abi::O_PATH != 0 {
        return flags & (abi::O_PATH | abi::O_DIRECTORY | abi::O_NOFOLLOW);
    }
    flags & !(abi::O_CREAT | abi::O_EXCL | abi::O_TRUNC | abi::O_CLOEXEC) | LARGE_FILE
}

pub(super) fn openat(directory: i32, path: usize, flags: u32, mode: u32) -> Result {
    // As Linux for the older call: unknown bits mean nothing, and with O_PATH few others do.
    let flags = if flags & abi::O_PATH != 0 { flags & PATH_FLAGS } else { flags & KNOWN_FLAGS };
    open_within(directory, path, flags, mode, 0)
}

/// `struct open_how`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

pub(super) fn openat2(directory: i32, path: usize, how: usize, size: usize) -> Result {
    if size < size_of::<How>() {
        return Err(Errno::EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    let wanted: How = user::read(how)?;
    // What a later kernel may know must not be asked for.
    for at in size_of::<How>()..size {
        if user::read::<u8>(how.wrapping_add(at))? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    let flags = u32::try_from(wanted.flags).map_err(|_| Errno::EINVAL)?;
    let resolve = u32::try_from(wanted.resolve).map_err(|_| Errno::EINVAL)?;
    const BOTH: u32 = abi::RESOLVE_BENEATH | abi::RESOLVE_IN_ROOT;
    let known = if flags & abi::O_PATH != 0 { PATH_FLAGS } else { KNOWN_FLAGS };
    if flags & !known != 0 || resolve & !RESOLVE_FLAGS != 0 || resolve & BOTH == BOTH {
        return Err(Errno::EINVAL);
    }
    let makes = flags & (abi::O_CREAT | TEMPORARY) != 0;
    if wanted.mode & !0o7777 != 0 || !makes && wanted.mode != 0 {
        return Err(Errno::EINVAL);
    }
    if resolve & abi::RESOLVE_CACHED != 0 && flags & (abi::O_TRUNC | abi::O_CREAT | TEMPORARY) != 0 {
        return Err(Errno::EAGAIN);
    }
    open_within(directory, path, flags, wanted.mode as u32, resolve)
}

/// Flags that contradict each other.
fn check_flags(flags: u32) -> Result<()> {
    if flags & (abi::O_CREAT | abi::O_DIRECTORY) == abi::O_CREAT | abi::O_DIRECTORY {
        return Err(Errno::EINVAL);
    }
    if flags & TEMPORARY != 0 && (flags & abi::O_DIRECTORY == 0 || flags & abi::O_ACCMODE == abi::O_RDONLY) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn open_within(directory: i32, path: usize, flags: u32, mode: u32, resolve: u32) -> Result {
    check_flags(flags)?;
    let path = user::read_path(path)?;
    // Within bounds an absolute path starts at the directory too.
    let bounded = resolve & (abi::RESOLVE_BENEATH | abi::RESOLVE_IN_ROOT) != 0;
    let start = start(directory, if bounded { b"." } else { &path })?;
    let exclusive = flags & abi::O_CREAT != 0 && flags & abi::O_EXCL != 0;
    let stay = exclusive || flags & abi::O_NOFOLLOW != 0;
    let follow = if stay { Follow::No } else { Follow::Yes };
    let last = path::walk_within(start.as_ref(), &path, follow, resolve)?;
    let writes = flags & abi::O_ACCMODE != abi::O_RDONLY;
    let makes = flags & abi::O_CREAT != 0;
    if makes && last.must_be_directory && !last.name.is_empty() && !matches!(&last.name[..], b"." | b"..") {
        return Err(Errno::EISDIR);
    }
    let (found, is_new) = match last.found {
        Some(_) if exclusive => return Err(Errno::EEXIST),
        Some(found) => (found, false),
        None if !makes => return Err(Errno::ENOENT),
        None => make(&last.directory, &last.name, mode, exclusive)?,
    };
    if flags & TEMPORARY != 0 {
        let opened = open_temporary(&found, flags, mode)?;
        notify::opened(&opened.dentry);
        return enter(opened, flags);
    }
    let is_directory = found.is_directory();
    let looks_only = flags & abi::O_PATH != 0;
    if flags & abi::O_DIRECTORY != 0 && !is_directory {
        return Err(Errno::ENOTDIR);
    }
    if is_directory && (writes || makes) && !looks_only {
        return Err(Errno::EISDIR);
    }
    if !is_new && !looks_only {
        check_permission(&found, flags)?;
    }
    let truncates = flags & abi::O_TRUNC != 0 && flags & abi::O_PATH == 0 && !is_new;
    // Also to read only: as on Linux, it is cut then.
    let _writing = match &found.content {
        InodeContent::File(_) if truncates && !writes => Some(Writing::new(&found)?),
        _ => None,
    };
    let opened = match open_path(&found, kept(flags)) {
        Ok(opened) => opened,
        Err(error) => return Err(give_up(error, is_new, &last.directory, &last.name, &found)),
    };
    if !looks_only {
        notify::opened(&found.dentry);
    }
    if let (true, InodeContent::File(pages)) = (truncates, &found.content) {
        pages.truncate(0)?;
        found.touch();
        notify::modified(&found.dentry);
    }
    match enter(opened, flags) {
        Ok(fd) => Ok(fd),
        Err(error) => Err(give_up(error, is_new, &last.directory, &last.name, &found)),
    }
}

/// A file cannot be opened. If it was made for it, it goes: a call that fails leaves nothing behind, as it may be done again.
#[cold]
fn give_up(error: Errno, is_new: bool, directory: &Path, name: &[u8], made: &Path) -> Errno {
    if is_new {
        let _ = directory.take_back(name, made);
    }
    error
}

/// Whether a file that exists may be opened so. What is no file to be opened says that itself.
#[inline(always)]
fn check_permission(found: &Path, flags: u32) -> Result<()> {
    let caller = Caller::current();
    if caller.is_exempt() && flags & abi::O_NOATIME == 0 {
        return Ok(());
    }
    check_permission_of(&caller, found, flags)
}

#[cold]
fn check_permission_of(caller: &Caller, found: &Path, flags: u32) -> Result<()> {
    if matches!(found.content, InodeContent::Link(_)) {
        return Ok(());
    }
    let access = match flags & abi::O_ACCMODE {
        abi::O_RDONLY => permission::READ,
        abi::O_WRONLY => permission::WRITE,
        _ => permission::READ | permission::WRITE,
    };
    let cuts = if flags & abi::O_TRUNC != 0 { permission::WRITE } else { 0 };
    if matches!(found.content, InodeContent::Device(..)) && found.mount.has(abi::MS_NODEV) {
        return Err(Errno::EACCES);
    }
    caller.check(found, access | cuts)?;
    if flags & abi::O_NOATIME != 0 && !permission::is_owner(found) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

fn enter(opened: Arc<OpenFile>, flags: u32) -> Result {
    current().files.add(opened, flags & abi::O_CLOEXEC != 0, 0)
}

/// Makes a file, or finds that somebody else has just made it.
fn make(directory: &Path, name: &[u8], mode: u32, exclusive: bool) -> Result<(Path, bool)> {
    directory.check_writable()?;
    permission::check_new_name(directory)?;
    match directory.create(name, What::File, masked(mode)) {
        Ok(made) => Ok((made, true)),
        Err(Errno::EEXIST) if !exclusive => Ok((directory.with(directory.dentry.lookup(name)?), false)),
        // A file system that makes no files.
        Err(Errno::EPERM) => Err(Errno::EACCES),
        Err(error) => Err(error),
    }
}

/// A file in the file system of `directory` that has no name (O_TMPFILE).
fn open_temporary(directory: &Path, flags: u32, mode: u32) -> Result<Arc<OpenFile>> {
    if !directory.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    permission::check_new_name(directory)?;
    directory.check_writable()?;
    let new = permission::owned(directory, What::File, masked(mode));
    let made = directory.with(directory.dentry.create_nameless(&new)?);
    made.change(|metadata| metadata.linkable = flags & abi::O_EXCL == 0);
    open_path(&made, kept(flags))
}
