// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process's descriptors.

use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use alloc::sync::Arc;

use arrayvec::ArrayVec;
use exo_core::{limits::index, thread::soft_limit};
use exo_hal::{PAGE_SIZE, mm::heap, sync::SpinLock};
use exo_logic::slots::Slots;

use super::{file::Stateless, locks::Owner, open_file::OpenFile};
use crate::{
    errno::{Errno, Result},
    room,
    sched::spans,
};

/// Descriptors that are looked at with the table locked.
const SOME: usize = 64;
/// Descriptors that [`FileTable::stateless`] covers.
const QUICK: usize = 256;

/// Enters a descriptor; what it was before. How large a table is the program chooses, and its memory is the kernel's.
fn put(entries: &mut Slots<Entry>, fd: usize, entry: Entry) -> Result<Option<Entry>> {
    if !entries.has_room_for(fd) {
        let bytes = entries.bytes_for(fd);
        if !room::has_room(bytes.div_ceil(PAGE_SIZE)) {
            return Err(Errno::ENOMEM);
        }
        heap::may_keep(bytes)?;
    }
    entries.put(fd, entry).map_err(|_| Errno::ENOMEM)
}

/// Bits of `FileTable::quick`, besides those of [`Stateless`].
const READABLE: u8 = 1;
const WRITABLE: u8 = 2;

#[derive(Clone)]
struct Entry {
    file: Arc<OpenFile>,
    close_on_exec: bool,
}

/// The descriptors.
pub struct FileTable {
    entries: SpinLock<Slots<Entry>>,
    /// For the first descriptors: which stateless device, and whether it may be read and written. 0 for all else.
    quick: [AtomicU8; QUICK],
    /// Threads that use it.
    users: AtomicUsize,
    /// No other table has it: the owner of fcntl(2)'s locks.
    number: u64,
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

impl Default for FileTable {
    fn default() -> Self {
        Self::new()
    }
}

impl FileTable {
    /// No descriptors.
    pub fn new() -> Self {
        Self {
            entries: SpinLock::new(Slots::new()),
            quick: [const { AtomicU8::new(0) }; QUICK],
            users: AtomicUsize::new(0),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// One thread more uses it.
    pub fn join(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }

    /// A thread does not use it any more; the last closes everything.
    pub fn leave(&self) {
        if self.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close_all();
        }
    }

    /// Whether more than one thread uses it.
    pub fn is_shared(&self) -> bool {
        self.users.load(Ordering::Acquire) > 1
    }

    /// A descriptor was closed: the process gives up its locks of that file, by whatever descriptor it got them.
    #[inline(always)]
    fn release_locks(&self, file: &OpenFile) {
        if let Some(locks) = file.node().locks.get().filter(|_| !file.is_path_only()) {
            locks.clear_owner(Owner::Table(self.number));
        }
    }

    fn let_go(&self, closed: Option<Entry>) {
        if let Some(entry) = closed {
            self.release_locks(&entry.file);
        }
    }

    /// A copy of the descriptors below `end` for another user: the same open files. ENOMEM if the kernel has no room for it.
    pub fn duplicate(&self, end: usize) -> Result<Self> {
        let new = Self::new();
        let mut from = 0;
        loop {
            let some = self.some(from, end);
            let Some((last, _)) = some.last() else { return Ok(new) };
            from = last + 1;
            let mut entries = new.entries.lock();
            for (fd, entry) in some {
                new.note(fd, Some(&entry.file));
                put(&mut entries, fd, entry)?;
            }
            drop(entries);
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
    }

    /// The next descriptors from `from` on and below `end`.
    fn some(&self, from: usize, end: usize) -> ArrayVec<(usize, Entry), SOME> {
        let entries = self.entries.lock();
        let mut some = ArrayVec::new();
        let mut next = entries.next_used(from);
        while let Some(fd) = next.filter(|fd| *fd < end && !some.is_full()) {
            some.extend(entries.get(fd).map(|entry| (fd, entry.clone())));
            next = entries.next_used(fd + 1);
        }
        some
    }

    fn note(&self, fd: usize, file: Option<&Arc<OpenFile>>) {
        if let Some(quick) = self.quick.get(fd) {
            let value =
                file.and_then(|f| f.file().stateless().map(|device| (f, device))).map_or(0, |(f, device)| {
                    device as u8
                        | if f.can_read() { READABLE } else { 0 }
                        | if f.can_write() { WRITABLE } else { 0 }
                });
            if quick.load(Ordering::Relaxed) != value {
                quick.store(value, Ordering::Release);
            }
        }
    }

    /// The stateless device behind `fd`, if it is one and may be read (or written, with `write`).
    #[inline]
    pub fn stateless(&self, fd: u64, write: bool) -> Option<Stateless> {
        let quick = self.quick.get(usize::try_from(fd).ok()?)?.load(Ordering::Acquire);
        if quick & if write { WRITABLE } else { READABLE } == 0 {
            return None;
        }
        if quick & Stateless::Zero as u8 != 0 { Some(Stateless::Zero) } else { Some(Stateless::Null) }
    }

    /// The open file behind a descriptor.
    #[inline]
    pub fn get(&self, fd: i32) -> Result<Arc<OpenFile>> {
        let fd = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        match self.entries.lock().get(fd) {
            Some(entry) => Ok(entry.file.clone()),
            _ => Err(Errno::EBADF),
        }
    }

    /// Whether a descriptor is closed by exec.
    pub fn close_on_exec_flag(&self, fd: i32) -> Result<bool> {
        let fd = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        match self.entries.lock().get(fd) {
            Some(entry) => Ok(entry.close_on_exec),
            _ => Err(Errno::EBADF),
        }
    }

    /// Sets that.
    pub fn set_close_on_exec(&self, fd: i32, value: bool) -> Result<()> {
        let fd = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        match self.entries.lock().get_mut(fd) {
            Some(entry) => {
                entry.close_on_exec = value;
                Ok(())
            }
            _ => Err(Errno::EBADF),
        }
    }

    fn limit() -> usize {
        usize::try_from(soft_limit(index::NOFILE)).unwrap_or(usize::MAX)
    }

    /// EMFILE if no descriptor is free, for who would lose something if one were not.
    pub fn check_room(&self) -> Result<()> {
        if self.entries.lock().first_free(0) < Self::limit() { Ok(()) } else { Err(Errno::EMFILE) }
    }

    /// Enters a file at the lowest free descriptor from `from` on.
    pub fn add(&self, file: Arc<OpenFile>, close_on_exec: bool, from: usize) -> Result {
        let limit = Self::limit();
        let mut entries = self.entries.lock();
        let free = entries.first_free(from);
        if free >= limit {
            return Err(Errno::EMFILE);
        }
        self.note(free, Some(&file));
        match put(&mut entries, free, Entry { file, close_on_exec }) {
            Ok(_) => Ok(free),
            Err(error) => {
                self.note(free, None);
                Err(error)
            }
        }
    }

    /// Enters a file at `fd`, closing what was there.
    pub fn replace(&self, fd: i32, file: Arc<OpenFile>, close_on_exec: bool) -> Result {
        let at = usize::try_from(fd).ok().filter(|at| *at < Self::limit()).ok_or(Errno::EBADF)?;
        let old = {
            let mut entries = self.entries.lock();
            let noted = file.clone();
            let old = put(&mut entries, at, Entry { file, close_on_exec })?;
            self.note(at, Some(&noted));
            old
        };
        self.let_go(old);
        Ok(at)
    }

    /// Closes a descriptor.
    pub fn close(&self, fd: i32) -> Result<()> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let old = {
            let mut entries = self.entries.lock();
            let old = entries.take(at);
            self.note(at, None);
            old
        };
        // Closing may wake others: not with the table locked.
        let entry = old.ok_or(Errno::EBADF)?;
        self.release_locks(&entry.file);
        Ok(())
    }

    /// Closes those of `first..=last` that are meant. Each by itself, as others of the process's threads may open and close meanwhile.
    fn close_where(&self, first: usize, last: usize, is_meant: impl Fn(&Entry) -> bool) {
        let end = last.saturating_add(1);
        let mut from = first;
        loop {
            let mut closed = ArrayVec::<_, SOME>::new();
            {
                let mut entries = self.entries.lock();
                for _ in 0..SOME {
                    let Some(fd) = entries.next_used(from).filter(|fd| *fd < end) else {
                        from = end;
                        break;
                    };
                    from = fd + 1;
                    if entries.get(fd).is_some_and(&is_meant) {
                        closed.extend(entries.take(fd));
                        self.note(fd, None);
                    }
                }
            }
            for entry in closed {
                self.let_go(Some(entry));
                // All of them, also when the task is to end.
                let _ = spans::point();
            }
            if from >= end {
                return;
            }
            let _ = spans::point();
        }
    }

    /// Closes what exec closes.
    pub fn close_on_exec(&self) {
        self.close_where(0, usize::MAX, |entry| entry.close_on_exec);
    }

    /// Closes everything.
    pub fn close_all(&self) {
        self.close_where(0, usize::MAX, |_| true);
    }

    /// Closes `first..=last`, or marks it to be closed by exec.
    pub fn close_range(&self, first: usize, last: usize, on_exec: bool) {
        if !on_exec {
            return self.close_where(first, last, |_| true);
        }
        let mut from = first;
        while from <= last {
            let mut entries = self.entries.lock();
            for _ in 0..SOME {
                let Some(fd) = entries.next_used(from).filter(|fd| *fd <= last) else { return };
                if let Some(entry) = entries.get_mut(fd) {
                    entry.close_on_exec = true;
                }
                from = fd + 1;
            }
            drop(entries);
            let _ = spans::point();
        }
    }

    /// What is above all open descriptors.
    pub fn end(&self) -> usize {
        self.entries.lock().last_used().map_or(0, |last| last + 1)
    }

    /// The lowest open descriptor from `fd` on.
    pub fn first_from(&self, fd: usize) -> Option<usize> {
        self.entries.lock().next_used(fd)
    }

    /// Descriptors that there is room for, as /proc/PID/status has it.
    pub fn size(&self) -> usize {
        self.entries.lock().room().max(64)
    }

    /// The next open files from descriptor `from` on, and where to go on; none at the end of the table.
    pub fn some_files(&self, from: usize) -> Option<(usize, ArrayVec<Arc<OpenFile>, SOME>)> {
        let entries = self.entries.lock();
        let mut files = ArrayVec::new();
        let mut next = entries.next_used(from)?;
        loop {
            files.extend(entries.get(next).map(|entry| entry.file.clone()));
            match entries.next_used(next + 1) {
                Some(fd) if !files.is_full() => next = fd,
                _ => return Some((next + 1, files)),
            }
        }
    }

    /// Bytes that the table itself takes.
    pub fn kernel_memory(&self) -> usize {
        self.entries.lock().bytes()
    }
}
