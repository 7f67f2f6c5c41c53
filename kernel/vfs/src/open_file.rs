// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open files: what a descriptor stands for.

use core::{
    any::Any,
    sync::atomic::{AtomicU32, Ordering},
};

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_core::{credentials::Credentials, thread::running};
use exo_hal::{mm::paging::NoMemory, sync::SpinLock};
use linux_raw_sys::general as abi;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    dentry::Dentry,
    file::File,
    inode::{Inode, InodeContent, kind},
    io::{Call, Io},
    mount::{self, Mount, Path},
    notify,
    writing::Writing,
};
use crate::{
    errno::{Errno, Result},
    fallible,
    io_buf::{IoBuf, IoSource},
    mm::pages::Lent,
    sched::mutex::Mutex,
    user::MAX_IO,
};

/// `O_` bits that can change on an open file.
pub const CHANGEABLE: u32 = abi::FASYNC | abi::O_APPEND | abi::O_NONBLOCK | abi::O_NOATIME | abi::O_DIRECT;

/// `struct f_owner_ex`: whom signals about a file are for.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Owner {
    /// `F_OWNER_TID`, `F_OWNER_PID` or `F_OWNER_PGRP`.
    pub kind: i32,
    /// Its number; 0 for nobody.
    pub number: i32,
}

/// An open file; several descriptors may share it.
pub struct OpenFile {
    file: Box<dyn File>,
    /// The name it was opened by.
    pub dentry: Arc<Dentry>,
    /// The mount it was opened through.
    pub mount: Arc<Mount>,
    /// What is open for writing is counted.
    _writing: Option<Writing>,
    flags: AtomicU32,
    /// What [`File::has_offset`] says, which does not change.
    has_offset: bool,
    /// It has neither places nor a name in a file system: after a read or write there is nothing to note.
    is_plain: bool,
    offset: SpinLock<u64>,
    /// Whom signals about it are for, and who said so.
    owner: SpinLock<(Owner, Option<Arc<Credentials>>)>,
    /// While its owner is told of changes (O_ASYNC).
    pub asynchronous: SpinLock<Option<Arc<dyn Any + Send + Sync>>>,
    /// Which signal that is; 0 for SIGIO.
    signal: AtomicU32,
    /// Held by who reads or writes at the file's own offset, until that has moved.
    moving: Mutex,
}

/// Whether a file with these `O_` bits may be read.
#[inline]
fn can_read(flags: u32) -> bool {
    // Neither O_WRONLY nor the mode 3, which allows nothing but ioctl.
    flags & (abi::O_WRONLY | abi::O_PATH) == 0
}

/// The same for writing.
#[inline]
fn can_write(flags: u32) -> bool {
    matches!(flags & abi::O_ACCMODE, abi::O_WRONLY | abi::O_RDWR) && flags & abi::O_PATH == 0
}

/// How a file with these bits is read or written that has no places.
#[inline]
fn io(flags: u32) -> Io {
    Io { offset: 0, no_wait: flags & abi::O_NONBLOCK != 0, direct: flags & abi::O_DIRECT != 0 }
}

impl OpenFile {
    /// Wraps a file without a name that was opened with the `O_` bits `flags`.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(
        file: Box<dyn File>,
        node: Arc<Inode>,
        flags: u32,
    ) -> core::result::Result<Arc<Self>, NoMemory> {
        let dentry = Dentry::nameless(node)?;
        Self::at(file, Path { mount: mount::anonymous(), dentry }, flags, None)
    }

    /// Wraps a file that was found at a place.
    ///
    /// # Errors
    /// ENOMEM.
    #[inline]
    pub(super) fn at(
        file: Box<dyn File>,
        path: Path,
        flags: u32,
        writing: Option<Writing>,
    ) -> core::result::Result<Arc<Self>, NoMemory> {
        let Path { mount, dentry } = path;
        mount.note_use();
        let has_offset = file.has_offset();
        fallible::arc_with(|| Self {
            has_offset,
            is_plain: !has_offset && !dentry.inode.system.has_names(),
            file,
            dentry,
            mount,
            _writing: writing,
            flags: AtomicU32::new(flags),
            offset: SpinLock::new(0),
            moving: Mutex::new(),
            owner: SpinLock::default(),
            asynchronous: SpinLock::new(None),
            signal: AtomicU32::new(0),
        })
    }

    /// The inode it was opened by.
    #[inline]
    pub fn node(&self) -> &Arc<Inode> {
        &self.dentry.inode
    }

    /// Where it was found.
    pub fn path(&self) -> Path {
        Path { mount: self.mount.clone(), dentry: self.dentry.clone() }
    }

    /// What /proc/PID/fd shows: the path, or what kind of thing it is.
    pub fn description(&self) -> Vec<u8> {
        let kind = match &self.node().content {
            InodeContent::Fifo(_) if !self.node().system.has_names() => "pipe",
            InodeContent::Socket if !self.node().system.has_names() => "socket",
            InodeContent::Other => {
                let name = self.file.anonymous_name().unwrap_or("[unknown]");
                return alloc::format!("anon_inode:{name}").into_bytes();
            }
            _ => return self.path().path(),
        };
        alloc::format!("{kind}:[{}]", self.node().number).into_bytes()
    }

    /// The file itself.
    pub fn file(&self) -> &(dyn File + 'static) {
        &*self.file
    }

    /// The `O_` bits.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Changes those that can be changed.
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(self.flags() & !CHANGEABLE | flags & CHANGEABLE, Ordering::Relaxed);
    }

    /// Whether it may be read.
    #[inline]
    pub fn can_read(&self) -> bool {
        can_read(self.flags())
    }

    /// Whether it may be written.
    #[inline]
    pub fn can_write(&self) -> bool {
        can_write(self.flags())
    }

    /// Whether it was opened for its place only (O_PATH).
    pub fn is_path_only(&self) -> bool {
        self.flags() & abi::O_PATH != 0
    }

    /// Whom signals about it are for.
    pub fn owner(&self) -> Owner {
        self.owner.lock().0
    }

    /// The same with the credentials of who set that; none if nobody did.
    pub fn owner_with_credentials(&self) -> Option<(Owner, Arc<Credentials>)> {
        let owner = self.owner.lock();
        owner.1.clone().map(|by| (owner.0, by))
    }

    /// Sets that.
    pub fn set_owner(&self, owner: Owner) {
        let by = (owner.number != 0).then(|| running().credentials.get());
        let old = core::mem::replace(&mut *self.owner.lock(), (owner, by));
        drop(old);
    }

    /// The signal that is sent; 0 for SIGIO.
    pub fn signal(&self) -> u32 {
        self.signal.load(Ordering::Relaxed)
    }

    /// Sets that.
    pub fn set_signal(&self, signal: u32) {
        self.signal.store(signal, Ordering::Relaxed);
    }

    /// What tells it from every other open file as long as it is open.
    pub fn id(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Where the next read or write begins.
    pub fn position(&self) -> u64 {
        *self.offset.lock()
    }

    /// Sets that.
    pub fn set_position(&self, position: u64) {
        *self.offset.lock() = position;
    }

    /// A call as the file's flags have it, at `offset` or at the file's own.
    #[inline]
    pub fn call(&self, offset: Option<u64>) -> Call {
        let flags = self.flags();
        Call { offset, append: flags & abi::O_APPEND != 0, no_wait: flags & abi::O_NONBLOCK != 0 }
    }

    #[inline]
    fn io(&self, call: Call, offset: u64) -> Io {
        Io { offset, no_wait: call.no_wait, direct: self.flags() & abi::O_DIRECT != 0 }
    }

    /// Whether it may be read, or with `write` written, `length` bytes at a time, where a call says.
    ///
    /// # Errors
    /// EBADF if it was not opened for that; ESPIPE and EINVAL for a place that it does not have.
    #[inline]
    pub fn check(&self, write: bool, call: Call, length: usize) -> Result<()> {
        if !(if write { self.can_write() } else { self.can_read() }) {
            return Err(Errno::EBADF);
        }
        let Some(offset) = call.offset else { return Ok(()) };
        if !self.has_offset {
            return Err(Errno::ESPIPE);
        }
        match offset.checked_add(length as u64) {
            Some(end) if end <= i64::MAX as u64 => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Reads at the file's own offset and moves it.
    #[inline]
    pub fn read(&self, to: &mut IoBuf<'_>) -> Result {
        let flags = self.flags();
        // Most files without places, such as pipes and sockets, are asked at once.
        if !self.is_plain || to.has_parts() || !can_read(flags) {
            return self.read_as(self.call(None), to);
        }
        to.truncate(MAX_IO);
        self.file.read(io(flags), to)
    }

    /// Reads at `offset`.
    pub fn read_at(&self, offset: u64, to: &mut IoBuf<'_>) -> Result {
        self.read_as(self.call(Some(offset)), to)
    }

    /// Reads.
    ///
    /// # Errors
    /// Those of [`check`](Self::check) and of the file.
    #[inline(never)]
    pub fn read_as(&self, call: Call, to: &mut IoBuf<'_>) -> Result {
        self.check(false, call, to.left())?;
        to.truncate(MAX_IO);
        if self.is_plain { self.read_file(self.io(call, 0), to) } else { self.read_noted(call, to) }
    }

    /// Reads, as who watches the file hears.
    fn read_noted(&self, call: Call, to: &mut IoBuf<'_>) -> Result {
        let count = match self.has_offset {
            true => self.read_placed(call, to)?,
            false => self.read_file(self.io(call, 0), to)?,
        };
        if count > 0 {
            notify::accessed(&self.dentry);
        }
        Ok(count)
    }

    #[inline]
    fn read_placed(&self, call: Call, to: &mut IoBuf<'_>) -> Result {
        let moving = if call.offset.is_none() { Some(self.moving.lock()?) } else { None };
        let start = call.offset.unwrap_or_else(|| *self.offset.lock());
        let count = self.read_file(self.io(call, start), to)?;
        if moving.is_some() {
            *self.offset.lock() = start.saturating_add(count as u64);
        }
        self.note_access();
        Ok(count)
    }

    #[inline(always)]
    fn read_file(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        if to.has_parts() { self.read_parts(io, to) } else { self.file.read(io, to) }
    }

    #[inline(never)]
    fn read_parts(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        if !self.file.takes_parts(false) {
            return self.file.read(io, to);
        }
        let mut offset = io.offset;
        to.each_part(|part| {
            let count = self.file.read(Io { offset, ..io }, part)?;
            offset = offset.saturating_add(count as u64);
            Ok(count)
        })
    }

    /// Pages with the next bytes from `offset` on, `most` at most, to be read without a copy; none if the file keeps none. No access is
    /// checked.
    pub fn lend(&self, offset: u64, most: usize) -> Option<Lent> {
        let lent = self.file.sparse_pages()?.lend(offset, most);
        self.note_access();
        if !lent.source().is_empty() {
            notify::accessed(&self.dentry);
        }
        Some(lent)
    }

    /// Writes at the file's own offset (or its end) and moves it.
    #[inline]
    pub fn write(&self, from: &mut IoSource<'_>) -> Result {
        let flags = self.flags();
        if !self.is_plain || from.has_parts() || !can_write(flags) {
            return self.write_as(self.call(None), from);
        }
        from.truncate(MAX_IO);
        self.file.write(io(flags), from)
    }

    /// Writes at `offset`, or at the end in append mode, as Linux does it.
    pub fn write_at(&self, offset: u64, from: &mut IoSource<'_>) -> Result {
        self.write_as(self.call(Some(offset)), from)
    }

    /// Writes.
    ///
    /// # Errors
    /// As [`read_as`](Self::read_as).
    #[inline(never)]
    pub fn write_as(&self, call: Call, from: &mut IoSource<'_>) -> Result {
        self.check(true, call, from.left())?;
        from.truncate(MAX_IO);
        if self.is_plain { self.write_file(self.io(call, 0), from) } else { self.write_noted(call, from) }
    }

    #[inline(always)]
    fn write_file(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        if from.has_parts() { self.write_parts(io, from) } else { self.file.write(io, from) }
    }

    /// Writes, as who watches the file hears.
    fn write_noted(&self, call: Call, from: &mut IoSource<'_>) -> Result {
        let count = match self.has_offset {
            true => self.write_placed(call, from)?,
            false => self.write_file(self.io(call, 0), from)?,
        };
        if count > 0 {
            notify::modified(&self.dentry);
        }
        Ok(count)
    }

    #[inline]
    fn write_placed(&self, call: Call, from: &mut IoSource<'_>) -> Result {
        let moving = if call.offset.is_none() { Some(self.moving.lock()?) } else { None };
        let start = call.offset.unwrap_or_else(|| *self.offset.lock());
        let io = self.io(call, start);
        let (start, count) =
            if call.append { self.file.append(io, from)? } else { (start, self.file.write(io, from)?) };
        if moving.is_some() && !self.file.writes_anywhere() {
            *self.offset.lock() = start.saturating_add(count as u64);
        }
        Ok(count)
    }

    #[inline(never)]
    fn write_parts(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        if self.file.takes_parts(true) {
            from.each_part(|part| self.file.write(io, part))
        } else {
            self.file.write(io, from)
        }
    }

    /// Notes that the content was read, as far as the mount wants to know.
    fn note_access(&self) {
        if self.flags() & abi::O_NOATIME == 0 {
            self.mount.note_access(self.node());
        }
    }

    /// Moves the offset.
    pub fn seek(&self, distance: i64, whence: u32) -> Result {
        if self.is_path_only() {
            return Err(Errno::EBADF);
        }
        if let Some(result) = self.file.seek_result() {
            return Ok(result as usize);
        }
        if let Some(result) = self.file.seek(distance, whence) {
            return result;
        }
        let size = self.file.seek_size().ok_or(Errno::ESPIPE)?;
        let _moving = self.moving.lock()?;
        if let (Some(pages), abi::SEEK_DATA | abi::SEEK_HOLE) = (self.file.sparse_pages(), whence) {
            let from = u64::try_from(distance).map_err(|_| Errno::ENXIO)?;
            let found = if whence == abi::SEEK_DATA { pages.next_data(from) } else { pages.next_hole(from) };
            let found = found.ok_or(Errno::ENXIO)?;
            self.set_position(found);
            return Ok(found as usize);
        }
        let base = match whence {
            abi::SEEK_SET => 0,
            abi::SEEK_CUR => self.position(),
            _ if !self.file.has_end() => return Err(Errno::EINVAL),
            abi::SEEK_END => size,
            // Files without holes as seen from outside: data up to the end, and the one hole there.
            abi::SEEK_DATA if distance >= 0 && (distance as u64) < size => 0,
            abi::SEEK_HOLE if distance >= 0 && (distance as u64) < size => {
                self.set_position(size);
                return Ok(size as usize);
            }
            abi::SEEK_DATA | abi::SEEK_HOLE => return Err(Errno::ENXIO),
            _ => return Err(Errno::EINVAL),
        };
        let new = base.checked_add_signed(distance).filter(|o| *o <= i64::MAX as u64).ok_or(Errno::EINVAL)?;
        self.set_position(new);
        Ok(new as usize)
    }

    /// Reads directory entries: `each` as in [`Inode::list`], after the offset; the offset moves on.
    pub fn read_entries(&self, mut each: impl FnMut(&[u8], u32, u64, u64) -> bool) -> Result<()> {
        let _moving = self.moving.lock()?;
        self.note_access();
        notify::accessed(&self.dentry);
        // What reads a directory may sleep; who changes the offset meanwhile waits for `moving`.
        let mut position = *self.offset.lock();
        // Positions 1 and 2 are "." and "..", those of real entries come behind.
        let parent = self.dentry.parent().map_or(self.node().number, |parent| parent.inode.number);
        for (at, name, number) in [(0, &b"."[..], self.node().number), (1, b"..", parent)] {
            if position == at {
                if !each(name, kind::DIRECTORY, number, at + 1) {
                    *self.offset.lock() = position;
                    return Ok(());
                }
                position += 1;
            }
        }
        let listed = self.dentry.list(position - 2, |name, kind, number, entry| {
            let more = each(name, kind, number, entry + 2);
            if more {
                position = entry + 2;
            }
            more
        });
        *self.offset.lock() = position;
        listed
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if !self.is_path_only() {
            notify::closed(&self.dentry, self.can_write());
        }
        if let Some(locks) = self.node().locks.get() {
            locks.end_open_file(self.id());
        }
    }
}
