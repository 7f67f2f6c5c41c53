// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk for tests, which answers when a test lets it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use exo_core::{
    errno::{Errno, Result},
    sched::{
        self,
        wait::{Deadline, WaitQueue, sleep_until, wait_on},
    },
    thread::work,
};
use exo_hal::{PAGE_SIZE, mm::frame::Frame, time};
use exo_logic::areas::Flags;
use exo_mm::{
    Backing,
    map::Placement,
    page_cache::{PageCache, PageStore},
};
use parking_lot::Mutex;

use crate::support::{PAGE, TestTask, WRITE, space};

/// What a file on it has, and what was asked of it.
pub(crate) struct Disk {
    content: Mutex<Vec<u8>>,
    is_held: AtomicBool,
    fails: AtomicBool,
    answers: WaitQueue,
    pub(crate) reads: AtomicUsize,
    /// Pages that were about to be dirty, and those that were written.
    pub(crate) dirtied: Mutex<Vec<u64>>,
    pub(crate) written: Mutex<Vec<u64>>,
}

pub(crate) type Cached = Arc<PageCache<Disk>>;

/// A file on a disk.
pub(crate) fn on_disk(content: &[u8]) -> Cached {
    let disk = Disk {
        content: Mutex::new(content.to_vec()),
        is_held: AtomicBool::new(false),
        fails: AtomicBool::new(false),
        answers: WaitQueue::new(),
        reads: AtomicUsize::new(0),
        dirtied: Mutex::default(),
        written: Mutex::default(),
    };
    Arc::new(PageCache::new(disk, content.len() as u64))
}

/// `pages` pages, each full of its own number.
pub(crate) fn numbered(pages: usize) -> Cached {
    on_disk(&(0..pages).flat_map(|page| [page as u8; PAGE_SIZE]).collect::<Vec<_>>())
}

impl Disk {
    /// From now on it does not answer.
    pub(crate) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    /// It answers all who wait, and from now on.
    pub(crate) fn release(&self) {
        self.is_held.store(false, Ordering::SeqCst);
        self.answers.wake_all();
    }

    /// Whether it says EIO from now on.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// The first `count` bytes of a page as it is on the disk.
    pub(crate) fn bytes(&self, page: usize, count: usize) -> Vec<u8> {
        self.content.lock()[page * PAGE..][..count].to_vec()
    }

    fn answer(&self) -> Result<()> {
        let answers = || (!self.is_held.load(Ordering::SeqCst)).then_some(());
        wait_on(&[&self.answers], None, false, answers).map_err(|_| Errno::EINTR)?;
        if self.fails.load(Ordering::SeqCst) { Err(Errno::EIO) } else { Ok(()) }
    }
}

impl PageStore for Disk {
    fn read_page(&self, index: u64, into: &Frame) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.answer()?;
        let content = self.content.lock();
        let bytes = content.get(index as usize * PAGE..).unwrap_or_default();
        into.write(0, &bytes[..bytes.len().min(PAGE)]);
        Ok(())
    }

    fn write_page(&self, index: u64, from: &Frame) -> Result<()> {
        self.written.lock().push(index);
        self.answer()?;
        let mut content = self.content.lock();
        let end = (index as usize + 1) * PAGE;
        let length = content.len().max(end);
        content.resize(length, 0);
        from.read(0, &mut content[end - PAGE..end]);
        Ok(())
    }

    fn before_dirty(&self, index: u64) -> Result<()> {
        self.dirtied.lock().push(index);
        self.answer()
    }
}

/// Maps `pages` pages of it.
pub(crate) fn map_cached(file: &Cached, pages: usize, shared: bool) -> usize {
    let flags = if shared { WRITE | Flags::SHARED } else { WRITE };
    let backing = Backing::File { object: file.clone(), offset: 0, shared, file: None };
    space().map(Placement::Hint(0), pages * PAGE, flags, backing, false).unwrap()
}

/// Lets all others run until they wait.
pub(crate) fn let_others_run() {
    sleep_until(Some(Deadline::Boot(time::now_ns() + 1_000_000)));
}

/// Ends another task.
pub(crate) fn kill(task: &Arc<TestTask>) {
    task.work.fetch_or(work::EXIT, Ordering::AcqRel);
    sched::prod(task);
}
