// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks that programs put on files: of ranges (fcntl), owned by a descriptor table or an open file, and of whole files (flock),
//! owned by an open file.
//!
//! Lock order: a file's locks, then the graph of who waits for whom.

use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{mm::frame, sync::SpinLock};
use exo_logic::range_locks::{Lock, Mode, RangeLocks, Refused, Span, WaitGraph};

use crate::{
    errno::{Errno, Result},
    sched::wait::{WaitQueue, wait_for},
};

/// The last byte that a lock can cover; a lock up to there is one to the end of the file.
pub const LAST_BYTE: u64 = i64::MAX as u64;
/// Range locks of one file, and flocks of one file, at most: each call looks through them with the file's locks held.
const MOST: usize = 4096;

/// Who owns a range lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A descriptor table, by its number: what POSIX calls a process.
    Table(u64),
    /// An open file, by its address; it gives up its locks before it goes.
    OpenFile(usize),
}

/// A flock.
#[derive(Clone, Copy, Debug)]
struct Whole {
    open_file: usize,
    pid: i32,
    mode: Mode,
}

#[derive(Default)]
struct Held {
    ranges: RangeLocks<Owner>,
    wholes: Vec<Whole>,
}

/// The locks of one file that has, or had, any.
pub struct FileLocks {
    /// Device and inode number, for /proc/locks.
    file_id: (u32, u64),
    held: SpinLock<Held>,
    /// Woken when something was released.
    released: WaitQueue,
    /// Threads that wait here for a range.
    waiting: AtomicUsize,
}

static GRAPH: SpinLock<WaitGraph<Owner>> = SpinLock::new(WaitGraph::new());
/// All files that have locks, in the order in which they got the first one.
static ALL: SpinLock<Vec<Weak<FileLocks>>> = SpinLock::new(Vec::new());

/// A place for a file's locks, which most files never need.
#[derive(Default)]
pub struct LockSlot {
    used: AtomicBool,
    locks: SpinLock<Option<Arc<FileLocks>>>,
}

impl LockSlot {
    /// The locks, if there were ever any.
    #[inline]
    pub fn get(&self) -> Option<Arc<FileLocks>> {
        if self.used.load(Ordering::Acquire) { self.locks.lock().clone() } else { None }
    }

    /// The locks, made if need be. ENOLCK if there is no memory.
    pub fn get_or_make(&self, file_id: (u32, u64)) -> Result<Arc<FileLocks>> {
        if let Some(locks) = self.get() {
            return Ok(locks);
        }
        if !frame::available(0) {
            return Err(Errno::ENOLCK);
        }
        let mut slot = self.locks.lock();
        let locks = slot
            .get_or_insert_with(|| {
                Arc::new(FileLocks {
                    file_id,
                    held: SpinLock::default(),
                    released: WaitQueue::new(),
                    waiting: AtomicUsize::new(0),
                })
            })
            .clone();
        self.used.store(true, Ordering::Release);
        drop(slot);
        list(&locks)?;
        Ok(locks)
    }
}

/// Enters it in the list of all; those that have gone make room.
fn list(locks: &Arc<FileLocks>) -> Result<()> {
    let mut all = ALL.lock();
    if all.iter().any(|known| known.as_ptr() == Arc::as_ptr(locks)) {
        return Ok(());
    }
    if all.len() == all.capacity() {
        all.retain(|known| known.strong_count() > 0);
    }
    all.try_reserve(1).map_err(|_| Errno::ENOLCK)?;
    all.push(Arc::downgrade(locks));
    Ok(())
}

impl FileLocks {
    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Something was released: who waits looks again.
    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            GRAPH.lock().end_in_file(self.key());
        }
        self.released.wake_all();
    }

    fn try_set(held: &mut Held, lock: Lock<Owner>) -> Result<()> {
        if held.ranges.len() >= MOST || !frame::available(0) {
            return Err(Errno::ENOLCK);
        }
        // A reader that was a writer lets other readers in, so this may release, too.
        held.ranges.set(lock).map_err(|_| Errno::ENOLCK)
    }

    /// Sets a range lock; EAGAIN if another's is in the way.
    pub fn set(&self, lock: Lock<Owner>) -> Result<()> {
        {
            let mut held = self.held.lock();
            if held.ranges.conflict(lock.owner, lock.mode, lock.span).is_some() {
                return Err(Errno::EAGAIN);
            }
            Self::try_set(&mut held, lock)?;
        }
        self.wake();
        Ok(())
    }

    /// Sets a range lock for the thread `tid` as soon as no other is in the way. EDEADLK if its holder waits for this owner.
    pub fn wait_and_set(&self, lock: Lock<Owner>, tid: u32) -> Result<()> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let result = wait_for(&self.released, || {
            let mut held = self.held.lock();
            let Some(holder) = held.ranges.conflict(lock.owner, lock.mode, lock.span).map(|l| l.owner) else {
                return Some(Self::try_set(&mut held, lock));
            };
            // An open file can be unlocked by any process that has it: nobody can say that it waits.
            if !matches!((lock.owner, holder), (Owner::Table(_), Owner::Table(_))) {
                return None;
            }
            match GRAPH.lock().wait(self.key(), tid, lock.owner, holder) {
                Ok(()) => None,
                Err(Refused::Deadlock) => Some(Err(Errno::EDEADLK)),
                Err(Refused::NoMemory) => Some(Err(Errno::ENOLCK)),
            }
        });
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        GRAPH.lock().end(tid);
        result.unwrap_or(Err(Errno::RESTART))?;
        self.wake();
        Ok(())
    }

    /// Releases an owner's range locks in `span`.
    pub fn clear(&self, owner: Owner, span: Span) -> Result<()> {
        if self.held.lock().ranges.clear(owner, span).map_err(|_| Errno::ENOLCK)? {
            self.wake();
        }
        Ok(())
    }

    /// Releases all range locks of an owner.
    pub fn clear_owner(&self, owner: Owner) {
        if self.held.lock().ranges.clear_owner(owner) {
            self.wake();
        }
    }

    /// The first lock that keeps `owner` from having this one.
    pub fn conflict(&self, owner: Owner, mode: Mode, span: Span) -> Option<Lock<Owner>> {
        self.held.lock().ranges.conflict(owner, mode, span).copied()
    }

    /// The first lock of `owner` in `span`.
    pub fn own(&self, owner: Owner, span: Span) -> Option<Lock<Owner>> {
        self.held.lock().ranges.held(owner, span).copied()
    }

    /// Locks the whole file for an open file, on behalf of the process `pid`; EAGAIN if another is in the way. A lock of the other mode is given up first, as on
    /// Linux, even if the new one is not had then.
    pub fn flock(&self, open_file: usize, pid: u32, mode: Mode, wait: bool) -> Result<()> {
        match self.convert(open_file, mode) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(gave_up) => {
                if gave_up {
                    self.released.wake_all();
                }
            }
        }
        let whole = Whole { open_file, pid: pid as i32, mode };
        if !wait {
            return self.try_flock(whole).unwrap_or(Err(Errno::EAGAIN));
        }
        wait_for(&self.released, || self.try_flock(whole)).unwrap_or(Err(Errno::RESTART))
    }

    /// Whether the open file has that lock already. As an error: whether it gave up one of the other mode.
    fn convert(&self, open_file: usize, mode: Mode) -> core::result::Result<bool, bool> {
        let mut held = self.held.lock();
        if held.wholes.iter().any(|w| w.open_file == open_file && w.mode == mode) {
            return Ok(true);
        }
        let before = held.wholes.len();
        held.wholes.retain(|w| w.open_file != open_file);
        if before == held.wholes.len() { Ok(false) } else { Err(true) }
    }

    /// None if another is in the way.
    fn try_flock(&self, whole: Whole) -> Option<Result<()>> {
        let mut held = self.held.lock();
        let excludes = |other: &Whole| {
            other.open_file != whole.open_file && (whole.mode == Mode::Write || other.mode == Mode::Write)
        };
        if held.wholes.iter().any(excludes) {
            return None;
        }
        // Another thread may have locked by the same open file meanwhile.
        held.wholes.retain(|w| w.open_file != whole.open_file);
        if held.wholes.len() >= MOST || held.wholes.try_reserve(1).is_err() {
            return Some(Err(Errno::ENOLCK));
        }
        held.wholes.push(whole);
        Some(Ok(()))
    }

    /// Releases an open file's flock.
    pub fn unflock(&self, open_file: usize) {
        let released = {
            let mut held = self.held.lock();
            let before = held.wholes.len();
            held.wholes.retain(|w| w.open_file != open_file);
            before != held.wholes.len()
        };
        if released {
            self.released.wake_all();
        }
    }

    /// The open file is closed for the last time.
    pub fn end_open_file(&self, open_file: usize) {
        self.unflock(open_file);
        self.clear_owner(Owner::OpenFile(open_file));
    }
}

impl FileLocks {
    /// Writes a line for each lock that `shows` is for: its owner, none for a flock, and the open file of that.
    fn write(
        &self,
        out: &mut dyn Write,
        before: &str,
        number: &mut usize,
        shows: impl Fn(Option<Owner>, usize) -> bool,
    ) -> fmt::Result {
        let held = self.held.lock();
        let (device, inode) = self.file_id;
        let mut line = |kind, mode, pid, span: Span| {
            *number += 1;
            let mode = if mode == Mode::Read { "READ " } else { "WRITE" };
            write!(out, "{before}{number}: {kind} ADVISORY  {mode} {pid} ")?;
            write!(out, "00:{device:02x}:{inode} {} ", span.first)?;
            if span.last == LAST_BYTE { writeln!(out, "EOF") } else { writeln!(out, "{}", span.last) }
        };
        for whole in held.wholes.iter().filter(|whole| shows(None, whole.open_file)) {
            line("FLOCK ", whole.mode, whole.pid, Span { first: 0, last: LAST_BYTE })?;
        }
        for lock in held.ranges.iter().filter(|lock| shows(Some(lock.owner), 0)) {
            match lock.owner {
                Owner::Table(_) => line("POSIX ", lock.mode, lock.pid, lock.span)?,
                Owner::OpenFile(_) => line("OFDLCK", lock.mode, -1, lock.span)?,
            }
        }
        Ok(())
    }

    /// Writes those that belong to an open file or, by whatever descriptor they were made, to a table that has it.
    pub fn write_of(&self, table: u64, open_file: usize, out: &mut dyn Write) -> fmt::Result {
        self.write(out, "lock:\t", &mut 0, |owner, whole| match owner {
            None => whole == open_file,
            Some(owner) => owner == Owner::Table(table) || owner == Owner::OpenFile(open_file),
        })
    }
}

/// Writes /proc/locks.
pub fn write_list(out: &mut dyn Write) -> fmt::Result {
    let files: Vec<Arc<FileLocks>> = ALL.lock().iter().filter_map(Weak::upgrade).collect();
    let mut number = 0;
    files.iter().try_for_each(|file| file.write(out, "", &mut number, |_, _| true))
}
