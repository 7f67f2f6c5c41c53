// SPDX-License-Identifier: MIT OR Apache-2.0
//! inotify: what happens to files and in directories is read as a queue of events. Who says what happens is [`exo_vfs::notify`].
//!
//! A watch does not keep its inode: it hears when that is no more. Locks: an inode's watchers, then a queue's watches, then its events.

mod queue;

use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_core::{credentials::User, limits::inotify as bounds};
use exo_hal::sync::SpinLock;
use exo_vfs::{
    OpenFile,
    events::Events,
    file::{File, Io},
    inode::Inode,
    notify::{self, Happening, Watcher},
};
use linux_raw_sys::{general as abi, ioctl};

use self::queue::{Event, Queue};
use crate::{
    anonymous,
    errno::{Errno, Result},
    fallible,
    io_buf::IoBuf,
    sched::{
        mutex::Mutex,
        spans,
        wait::{WaitQueue, wait_for},
    },
    task::current,
    user,
};

/// What a watch keeps of a mask besides the events.
const FLAGS: u32 = abi::IN_EXCL_UNLINK | abi::IN_ONESHOT;
/// What is not said of a directory that is itself removed or moved.
const ABOUT_SELF: u32 = abi::IN_DELETE_SELF | abi::IN_MOVE_SELF;

#[derive(Default)]
struct Watches {
    by_number: BTreeMap<i32, Arc<Watch>>,
    /// The numbers by the inodes' addresses, which nothing else gets as long as the watch refers to it.
    by_inode: BTreeMap<usize, i32>,
    last: i32,
}

impl Watches {
    fn remove(&mut self, number: i32) -> Option<Arc<Watch>> {
        let watch = self.by_number.remove(&number)?;
        if self.by_inode.get(&watch.key()) == Some(&number) {
            self.by_inode.remove(&watch.key());
        }
        Some(watch)
    }
}

/// A queue and its watches.
pub struct Inotify {
    me: Weak<Self>,
    user: Arc<User>,
    queue: SpinLock<Queue>,
    changed: WaitQueue,
    watches: SpinLock<Watches>,
    /// Held by who adds a watch: an inode has one of each queue.
    adding: Mutex,
}

struct Watch {
    number: i32,
    mask: AtomicU32,
    inode: Weak<Inode>,
    queue: Weak<Inotify>,
    _charge: Charge,
}

/// Counts for a user.
struct Charge(Arc<User>);

struct Handle(Arc<Inotify>);

fn count(counter: &AtomicUsize, most: &AtomicUsize, error: Errno) -> Result<()> {
    let most = most.load(Ordering::Relaxed);
    let more = |count: usize| (count < most).then_some(count + 1);
    counter.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).map(drop).map_err(|_| error)
}

impl Charge {
    fn new(user: &Arc<User>) -> Result<Self> {
        count(&user.watches, &bounds::USER_WATCHES, Errno::ENOSPC)?;
        Ok(Self(user.clone()))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        self.user.watch_queues.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Makes one without watches. Of the `O_` bits `flags`, O_NONBLOCK counts.
///
/// # Errors
/// EMFILE if the user has too many, ENOMEM.
pub fn create(flags: u32) -> Result<Arc<OpenFile>> {
    let user = current().credentials.get().user.clone();
    count(&user.watch_queues, &bounds::USER_INSTANCES, Errno::EMFILE)?;
    let new = Arc::new_cyclic(|me: &Weak<Inotify>| Inotify {
        me: me.clone(),
        user,
        queue: SpinLock::default(),
        changed: WaitQueue::new(),
        watches: SpinLock::default(),
        adding: Mutex::new(),
    });
    anonymous::open(Handle(new), 0o600, abi::O_RDONLY | flags & abi::O_NONBLOCK)
}

/// The one behind an open file; EINVAL if it is none.
pub fn of(file: &OpenFile) -> Result<&Arc<Inotify>> {
    file.file().downcast::<Handle>().map(|handle| &handle.0).ok_or(Errno::EINVAL)
}

impl Watch {
    fn key(&self) -> usize {
        self.inode.as_ptr().addr()
    }

    /// Tells of something, if it is asked for.
    fn tell(&self, queue: &Inotify, bits: u32, cookie: u32, name: &[u8]) {
        let bits = if bits & ABOUT_SELF != 0 { bits & !abi::IN_ISDIR } else { bits };
        let copy = fallible::list(name.len()).map(|mut copy: Vec<u8>| {
            copy.extend_from_slice(name);
            copy
        });
        {
            let mut events = queue.queue.lock();
            match copy {
                Ok(name) => events.push(Event { watch: self.number, bits, cookie, name }),
                Err(_) => events.overflow(),
            }
        }
        queue.changed.wake_all();
    }

    /// The last that is heard of it.
    fn end(&self, queue: &Inotify) {
        let gone = queue.watches.lock().remove(self.number);
        if gone.is_some() {
            self.tell(queue, abi::IN_IGNORED, 0, &[]);
        }
    }
}

impl Watcher for Watch {
    fn happened(&self, what: &Happening<'_>) -> bool {
        let mask = self.mask.load(Ordering::Acquire);
        let Some(queue) = self.queue.upgrade() else { return false };
        if mask & what.bits & abi::IN_ALL_EVENTS == 0 || what.is_unlinked && mask & abi::IN_EXCL_UNLINK != 0 {
            return true;
        }
        self.tell(&queue, what.bits, what.cookie, what.name.unwrap_or_default());
        let is_over = mask & abi::IN_ONESHOT != 0;
        if is_over {
            self.end(&queue);
        }
        !is_over
    }

    fn ended(&self, bits: u32) {
        let Some(queue) = self.queue.upgrade() else { return };
        if bits == 0 {
            // The file is there still, for who looks it up.
            let mut watches = queue.watches.lock();
            if watches.by_inode.get(&self.key()) == Some(&self.number) {
                watches.by_inode.remove(&self.key());
            }
            return;
        }
        if bits & (self.mask.load(Ordering::Acquire) | abi::IN_UNMOUNT) != 0 {
            self.tell(&queue, bits, 0, &[]);
        }
        self.end(&queue);
    }
}

impl Inotify {
    /// Watches an inode, or changes what is asked about it; the watch's number.
    ///
    /// # Errors
    /// EEXIST if it is watched and IN_MASK_CREATE says that it must not be; ENOSPC if it or the user has too many watches; ENOMEM.
    pub fn watch(self: &Arc<Self>, node: &Arc<Inode>, asked: u32) -> Result<i32> {
        let _adding = self.adding.lock()?;
        let mask = asked & (abi::IN_ALL_EVENTS | FLAGS);
        let key = Arc::as_ptr(node).addr();
        let known = {
            let watches = self.watches.lock();
            watches.by_inode.get(&key).and_then(|number| watches.by_number.get(number)).cloned()
        };
        if let Some(watch) = known {
            if asked & abi::IN_MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            let kept = if asked & abi::IN_MASK_ADD != 0 { watch.mask.load(Ordering::Acquire) } else { 0 };
            watch.mask.store(kept | mask, Ordering::Release);
            return Ok(watch.number);
        }
        let charge = Charge::new(&self.user)?;
        let number = {
            let mut watches = self.watches.lock();
            watches.last = watches.last.checked_add(1).ok_or(Errno::ENOSPC)?;
            watches.last
        };
        let watch = fallible::arc(Watch {
            number,
            mask: AtomicU32::new(mask),
            inode: Arc::downgrade(node),
            queue: self.me.clone(),
            _charge: charge,
        })?;
        {
            let mut watches = self.watches.lock();
            watches.by_number.insert(number, watch.clone());
            watches.by_inode.insert(key, number);
        }
        notify::watch(node, watch).inspect_err(|_| {
            let gone = self.watches.lock().remove(number);
            drop(gone);
        })?;
        Ok(number)
    }

    /// Ends a watch; EINVAL if there is none with this number.
    pub fn forget(&self, number: i32) -> Result<()> {
        let watch = self.watches.lock().remove(number).ok_or(Errno::EINVAL)?;
        let as_watcher: Arc<dyn Watcher> = watch.clone();
        notify::unwatch(&watch.inode, Arc::as_ptr(&as_watcher));
        watch.tell(self, abi::IN_IGNORED, 0, &[]);
        Ok(())
    }

    fn take(&self, room: usize) -> Option<Result<Event>> {
        self.queue.lock().take(room)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        while let Some((_, watch)) = { self.0.watches.lock().by_number.pop_first() } {
            let as_watcher: Arc<dyn Watcher> = watch.clone();
            notify::unwatch(&watch.inode, Arc::as_ptr(&as_watcher));
            drop(watch);
            let _ = spans::point();
        }
        while let Some(event) = { self.0.queue.lock().events.pop_front() } {
            drop(event);
            let _ = spans::point();
        }
    }
}

impl File for Handle {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        let mut done = 0;
        loop {
            let room = to.left();
            let event = match self.0.take(room) {
                Some(Err(_)) | None if done > 0 => return Ok(done),
                Some(event) => event?,
                None if io.no_wait => return Err(Errno::EAGAIN),
                None => wait_for(&self.0.changed, || self.0.take(room)).map_err(|_| Errno::RESTART)??,
            };
            // As on Linux, what cannot be told any more is lost.
            event.give(to)?;
            done += event.size();
            if spans::point() {
                return Ok(done);
            }
        }
    }

    fn takes_parts(&self, _write: bool) -> bool {
        true
    }

    fn splices(&self, _write: bool) -> bool {
        false
    }

    fn events(&self) -> Events {
        if self.0.queue.lock().events.is_empty() { Events::empty() } else { Events::IN }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.changed)
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        if request != ioctl::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = self.0.queue.lock().bytes;
        user::write(argument, &i32::try_from(bytes).unwrap_or(i32::MAX)).map(|()| 0)
    }

    fn kernel_memory(&self) -> usize {
        self.0.queue.try_lock().map_or(0, |queue| queue.events.len() * size_of::<Event>() + queue.bytes)
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("inotify")
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        let mut next = 0;
        loop {
            let found = self.0.watches.lock().by_number.range(next..).next().map(|(_, watch)| watch.clone());
            let Some(watch) = found else { return Ok(()) };
            next = watch.number.saturating_add(1);
            let mask = watch.mask.load(Ordering::Acquire) & abi::IN_ALL_EVENTS;
            if let Some(node) = watch.inode.upgrade() {
                write!(out, "inotify wd:{:x} ino:{:x} ", watch.number, node.number)?;
                writeln!(out, "sdev:{:x} mask:{mask:x} ignored_mask:0", node.superblock.device)?;
            }
        }
    }
}
