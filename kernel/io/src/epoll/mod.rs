// SPDX-License-Identifier: MIT OR Apache-2.0
//! epoll: many files are watched, and waiting costs what has happened, however many of them are idle.
//!
//! ```text
//! a file changes ──▶ Interest (an observer of its queue) ──▶ list of those to look at ──▶ wait: asks each file, gives what is true
//! ```
//!
//! A change only enters an interest into the list: it comes with locks held that are not known here. Whether what was asked for is true is
//! found out by who waits. What is level-triggered goes back into the list when it was told, and leaves it when it is true no more.
//!
//! A watched file is not kept open. What was asked of one that is closed is forgotten when it is met, or when the table has doubled.

mod nesting;

use core::{
    fmt::{self, Write},
    ops::Bound,
    sync::atomic::{AtomicBool, Ordering},
};

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{mm::heap, sync::SpinLock};
use exo_vfs::{OpenFile, events::Events, file::File, poll};
use linux_raw_sys::general as abi;

use crate::{
    anonymous,
    errno::{Errno, Result},
    fallible,
    sched::{
        spans,
        wait::{Ended, Observer, WaitQueue, wait_on},
    },
};

/// Most files that one epoll watches: it looks through those that have changed with interrupts off when one is taken out. Linux has a bound for
/// each user (`max_user_watches`).
const MOST_WATCHED: usize = 16384;

/// What a program asks about a file.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// `EPOLL` bits.
    pub bits: u32,
    /// What comes with the answer.
    pub data: u64,
}

impl Asked {
    fn events(self) -> Events {
        Events::from_bits_truncate(self.bits as u16)
    }

    fn has(self, bit: u32) -> bool {
        self.bits & bit != 0
    }
}

/// A file that is watched.
struct Interest {
    me: Weak<Self>,
    fd: i32,
    file: Weak<OpenFile>,
    asked: SpinLock<Asked>,
    /// It is an epoll itself.
    is_epoll: bool,
    /// It was told, and is not to be told again until it is asked for (EPOLLONESHOT).
    is_done: AtomicBool,
    /// It is in the table no more.
    is_removed: AtomicBool,
    /// It is in the list of those to look at.
    is_listed: AtomicBool,
    ready: Arc<Ready>,
}

/// Those to look at.
struct Ready {
    /// With room for all interests, since nothing can be asked for when a file changes.
    list: SpinLock<List>,
    changed: WaitQueue,
}

#[derive(Default)]
struct List {
    interests: VecDeque<Arc<Interest>>,
    /// Nobody looks any more.
    is_closed: bool,
}

/// By descriptor and open file: a descriptor may have become another file's.
type Key = (i32, usize);

#[derive(Default)]
struct Table {
    interests: BTreeMap<Key, Arc<Interest>>,
    /// With so many, those of closed files are looked for.
    prune_at: usize,
}

/// Files that are watched together.
pub struct Epoll {
    table: SpinLock<Table>,
    ready: Arc<Ready>,
    /// The epolls that watch this one, and some that did.
    outer: SpinLock<Vec<Weak<OpenFile>>>,
}

/// What has happened, and what the program wanted to hear with it.
pub struct Told {
    /// `EPOLL` bits.
    pub bits: u32,
    /// As in [`Asked`].
    pub data: u64,
    interest: Arc<Interest>,
}

/// Makes one, without files.
///
/// # Errors
/// ENOMEM.
pub fn create() -> Result<Arc<OpenFile>> {
    // One epoll may watch another, which is told in between.
    let ready = Ready { list: SpinLock::default(), changed: WaitQueue::nested() };
    let epoll =
        Epoll { table: SpinLock::default(), ready: fallible::arc(ready)?, outer: SpinLock::default() };
    anonymous::open(epoll, 0o600, abi::O_RDWR)
}

/// The epoll behind an open file; EINVAL if it is none.
pub fn of(file: &OpenFile) -> Result<&Epoll> {
    file.file().downcast::<Epoll>().ok_or(Errno::EINVAL)
}

/// The key of what is asked about a file.
fn key(fd: i32, file: &Arc<OpenFile>) -> Key {
    (fd, Arc::as_ptr(file).addr())
}

impl Observer for Interest {
    fn changed(&self) {
        if self.enter() {
            self.ready.changed.wake_all();
        }
    }

    fn became(&self, events: u16) -> bool {
        if !self.asked.lock().events().intersects(Events::from_bits_truncate(events)) || !self.enter() {
            return false;
        }
        // Who is about to look again counts as nobody: another one that waits can have the event. As on Linux, who polls does not count.
        let waits = self.ready.changed.has_waiters();
        self.ready.changed.wake_all();
        waits
    }
}

impl Interest {
    /// Enters the list, unless it is there already or nothing is to be told of it. True if that was empty: nobody sleeps while it is not, so
    /// that those who wait are woken for the first alone.
    fn enter(&self) -> bool {
        if !self.is_wanted() || self.is_listed.swap(true, Ordering::AcqRel) {
            return false;
        }
        let Some(me) = self.me.upgrade() else { return false };
        let mut list = self.ready.list.lock();
        // There is room for each that is in the table.
        let may = !list.is_closed && self.is_wanted() && list.interests.len() < list.interests.capacity();
        let is_first = list.interests.is_empty();
        if may {
            list.interests.push_back(me);
        } else {
            self.is_listed.store(false, Ordering::Release);
        }
        may && is_first
    }

    fn is_wanted(&self) -> bool {
        !self.is_done.load(Ordering::Acquire) && !self.is_removed.load(Ordering::Acquire)
    }

    /// What is true of what was asked, in `EPOLL` bits.
    fn now(&self) -> Option<(Asked, u32)> {
        let file = self.file.upgrade()?;
        let asked = *self.asked.lock();
        if !self.is_wanted() {
            return None;
        }
        let now = poll::ready(&file, asked.events());
        (!now.is_empty()).then_some((asked, u32::from(now.bits())))
    }
}

impl Ready {
    /// The next to look at. It may enter the list again from here on.
    fn next(&self) -> Option<Arc<Interest>> {
        let interest = self.list.lock().interests.pop_front()?;
        interest.is_listed.store(false, Ordering::Release);
        Some(interest)
    }

    /// Takes out the first, if it is this one still. It may enter the list again from here on.
    fn take_out(&self, first: &Arc<Interest>) -> bool {
        let mut list = self.list.lock();
        let is_it = list.interests.front().is_some_and(|front| Arc::ptr_eq(front, first));
        if is_it {
            list.interests.pop_front();
            first.is_listed.store(false, Ordering::Release);
        }
        is_it
    }

    fn count(&self) -> usize {
        self.list.lock().interests.len()
    }
}

impl Epoll {
    /// Watches a file; EEXIST if it is watched by this descriptor.
    ///
    /// # Errors
    /// ELOOP if the two would watch each other, or too many one another; EINVAL if a change would go too many ways; ENOSPC for too many files,
    /// or too many that watch this one; ENOMEM.
    pub fn add(&self, own: &Arc<OpenFile>, fd: i32, file: &Arc<OpenFile>, asked: Asked) -> Result<()> {
        let _nesting = of(file).is_ok().then(|| nesting::check(own, file)).transpose()?;
        self.prune();
        heap::room_for_arc::<Interest>()?;
        let interest = Arc::new_cyclic(|me| Interest {
            me: me.clone(),
            fd,
            file: Arc::downgrade(file),
            asked: SpinLock::new(asked),
            is_epoll: of(file).is_ok(),
            is_done: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
            is_listed: AtomicBool::new(false),
            ready: self.ready.clone(),
        });
        let key = key(fd, file);
        {
            let mut table = self.table.lock();
            if table.interests.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            let count = table.interests.len() + 1;
            if count > MOST_WATCHED {
                return Err(Errno::ENOSPC);
            }
            let mut list = self.ready.list.lock();
            let more = count.saturating_sub(list.interests.len());
            list.interests.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
            drop(list);
            table.interests.insert(key, interest.clone());
        }
        if let Some(queue) = file.file().queue() {
            let observer: Arc<dyn Observer> = interest.clone();
            let observed = if asked.has(abi::EPOLLEXCLUSIVE) {
                queue.observe_exclusively(&observer)
            } else {
                queue.observe(&observer)
            };
            if let Err(error) = observed {
                self.remove(fd, file)?;
                return Err(error);
            }
        }
        // What is true already is told, too.
        interest.changed();
        Ok(())
    }

    /// Asks something else about a file; ENOENT if it is not watched by this descriptor.
    pub fn modify(&self, fd: i32, file: &Arc<OpenFile>, asked: Asked) -> Result<()> {
        let interest = self.find(fd, file).ok_or(Errno::ENOENT)?;
        if interest.asked.lock().has(abi::EPOLLEXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        *interest.asked.lock() = asked;
        interest.is_done.store(false, Ordering::Release);
        interest.changed();
        Ok(())
    }

    /// Watches a file no more; ENOENT if it is not watched by this descriptor.
    pub fn remove(&self, fd: i32, file: &Arc<OpenFile>) -> Result<()> {
        self.forget(key(fd, file)).then_some(()).ok_or(Errno::ENOENT)
    }

    /// Takes an interest out of the table, and of the list; false if there is none.
    fn forget(&self, key: Key) -> bool {
        let gone = {
            let mut table = self.table.lock();
            let Some(gone) = table.interests.remove(&key) else { return false };
            // With the table locked: who is in the list is in the table, so that there is room.
            gone.is_removed.store(true, Ordering::Release);
            let mut list = self.ready.list.lock();
            if let Some(at) = list.interests.iter().position(|listed| Arc::ptr_eq(listed, &gone)) {
                list.interests.remove(at);
            }
            gone
        };
        drop(gone);
        true
    }

    fn find(&self, fd: i32, file: &Arc<OpenFile>) -> Option<Arc<Interest>> {
        self.table.lock().interests.get(&key(fd, file)).cloned()
    }

    /// The first interest, or the next behind `key`.
    fn after(&self, key: Option<Key>) -> Option<(Key, Arc<Interest>)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let table = self.table.lock();
        table.interests.range((from, Bound::Unbounded)).next().map(|(key, interest)| (*key, interest.clone()))
    }

    /// Forgets closed files, if the table has doubled since that was done last.
    fn prune(&self) {
        {
            let table = self.table.lock();
            if table.interests.len() < table.prune_at.max(16) {
                return;
            }
        }
        let mut at = None;
        while let Some((key, interest)) = self.after(at) {
            if interest.file.strong_count() == 0 {
                self.forget(key);
            }
            at = Some(key);
            // To the end, also when the task is to end.
            let _ = spans::point();
        }
        let mut table = self.table.lock();
        table.prune_at = 2 * table.interests.len();
    }

    /// What has happened, at most `most` of it.
    ///
    /// # Errors
    /// ENOMEM, if there is no memory for the first.
    fn collect(&self, most: usize) -> Result<Vec<Told>> {
        let mut told = Vec::new();
        for _ in 0..self.ready.count() {
            if told.len() == most || spans::point() {
                break;
            }
            if told.try_reserve(1).is_err() {
                return if told.is_empty() { Err(Errno::ENOMEM) } else { Ok(told) };
            }
            let Some(interest) = self.ready.next() else { break };
            if let Some((asked, bits)) = interest.now() {
                if asked.has(abi::EPOLLONESHOT) {
                    interest.is_done.store(true, Ordering::Release);
                } else if !asked.has(abi::EPOLLET) {
                    interest.enter();
                }
                told.push(Told { bits, data: asked.data, interest });
            } else if interest.file.strong_count() == 0 {
                self.forget((interest.fd, interest.file.as_ptr().addr()));
            }
        }
        Ok(told)
    }

    /// Waits until something has happened, or until `deadline`, 0 for not at all; what, at most `most` of it.
    ///
    /// # Errors
    /// EINTR if a signal comes, ENOMEM.
    pub fn wait(&self, most: usize, deadline: Option<u64>) -> Result<Vec<Told>> {
        loop {
            let told = self.collect(most)?;
            if !told.is_empty() {
                // What goes on being true is for others who wait, too.
                if self.ready.count() > 0 {
                    self.ready.changed.wake_all();
                }
                return Ok(told);
            }
            if deadline == Some(0) {
                return Ok(told);
            }
            let look = || (self.ready.count() > 0).then_some(());
            match wait_on(&[&self.ready.changed], deadline, true, look) {
                Ok(()) => {}
                Err(Ended::TimedOut) => return Ok(told),
                Err(Ended::Interrupted) => return Err(Errno::EINTR),
            }
        }
    }

    /// The program could not be told: it is told the next time.
    pub fn put_back(&self, untold: &[Told]) {
        for told in untold {
            told.interest.is_done.store(false, Ordering::Release);
            told.interest.changed();
        }
    }

    /// Whether something has happened. What has stays listed; what has not, does not.
    fn has_news(&self) -> bool {
        for _ in 0..self.ready.count() {
            let Some(first) = self.ready.list.lock().interests.front().cloned() else { return false };
            if first.now().is_some() {
                return true;
            }
            if self.ready.take_out(&first) && first.now().is_some() {
                // It has changed in between, and was listed still.
                first.changed();
                return true;
            }
        }
        false
    }

    /// By how many descriptors a file is watched.
    fn watches(&self, file: &Arc<OpenFile>) -> usize {
        let address = Arc::as_ptr(file).addr();
        self.table.lock().interests.keys().filter(|(_, of)| *of == address).count()
    }

    /// The epolls that are watched; ENOMEM.
    fn inner(&self) -> Result<Vec<Arc<OpenFile>>> {
        let mut found = Vec::new();
        let table = self.table.lock();
        for interest in table.interests.values().filter(|interest| interest.is_epoll) {
            found.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            // Let go of by the caller: it may be the last reference, and the table is locked.
            found.extend(interest.file.upgrade());
        }
        Ok(found)
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        let listed = {
            let mut list = self.ready.list.lock();
            list.is_closed = true;
            core::mem::take(&mut list.interests)
        };
        drop(listed);
        while let Some((_, interest)) = { self.table.lock().interests.pop_first() } {
            drop(interest);
            let _ = spans::point();
        }
    }
}

impl File for Epoll {
    fn events(&self) -> Events {
        if self.has_news() { Events::IN } else { Events::empty() }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.ready.changed)
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }

    fn kernel_memory(&self) -> usize {
        self.table.lock().interests.len() * 2 * size_of::<Interest>()
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("[eventpoll]")
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        let mut at = None;
        while let Some((key, interest)) = self.after(at) {
            at = Some(key);
            let asked = *interest.asked.lock();
            if let Some(file) = interest.file.upgrade() {
                let (tfd, bits, data) = (interest.fd, asked.bits, asked.data);
                write!(out, "tfd: {tfd:8} events: {bits:8x} data: {data:16x}  pos:{}", file.position())?;
                writeln!(out, " ino:{:x} sdev:{:x}", file.node().number, file.node().superblock.device)?;
            }
        }
        Ok(())
    }
}
