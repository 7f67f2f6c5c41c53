// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages in memory of a file that is kept elsewhere: filled from a [`PageStore`] when they are first wanted, brought back to it when they
//! were changed, and given up when memory is.
//!
//! A page is *up to date* once it has been filled. It is *dirty* from before somebody may write to it until it is on its way to the store:
//! programs see clean pages without the right to write, so that their first write comes to [`PageStore::before_dirty`], and
//! [`write_page`](VmObject::write_page) takes that right from all before it reads what the page has. What is written meanwhile makes it
//! dirty again. A page that a device or the kernel has pinned to write to it stays dirty, since such writes do not fault.
//!
//! While one task fills a page or tells the store of a change, the page is *busy*: others wait for it, and each gets what came of it.

use core::sync::atomic::{AtomicU64, Ordering};

use exo_hal::{
    PAGE_SIZE,
    mm::{
        frame::{Frame, Pinned},
        paging::Marks,
    },
    sync::SpinLock,
};

use super::{
    mappings::Mappings,
    object::{GetPage, VmObject, Wanted},
    page_map::{Mark, PageMap},
};
use exo_core::{
    errno::{Errno, Result},
    sched::{
        spans,
        wait::{WaitQueue, wait_on},
    },
};

const PAGE: u64 = PAGE_SIZE as u64;

/// Where the pages of one file are kept. Its functions are called with nothing locked that spins, and may sleep. They may be called for a
/// fault in a copy to or from a program's memory, so they take no sleeping lock that somebody copies with, such as the one of a file's
/// changes.
pub trait PageStore: Send + Sync {
    /// Fills a page. What the store has nothing for reads as zeros, as the frame does before.
    ///
    /// # Errors
    /// Whoever wanted the page gets SIGBUS, and the next who wants it asks again. EINTR if the task is killed meanwhile: then another that
    /// waits for it asks.
    fn read_page(&self, index: u64, into: &Frame) -> Result<()>;

    /// Keeps what a page has now. Programs may change it meanwhile.
    ///
    /// # Errors
    /// The page stays dirty.
    fn write_page(&self, index: u64, from: &Frame) -> Result<()>;

    /// A clean page is about to be changed: a place for it is found now, when that can still be refused.
    ///
    /// # Errors
    /// Who wanted to write gets SIGBUS, or the error of the call.
    fn before_dirty(&self, index: u64) -> Result<()> {
        let _ = index;
        Ok(())
    }
}

/// The pages of one file.
pub struct PageCache<S> {
    store: S,
    size: AtomicU64,
    pages: SpinLock<PageMap>,
    /// Those that wait for a page that is busy or on its way to the store.
    settled: WaitQueue,
    mappings: Mappings,
}

/// What a task does to a page that is busy for others until then.
enum Work {
    Fill,
    MakeDirty,
}

impl<S: PageStore> PageCache<S> {
    /// For a file of `size` bytes, with no page in memory.
    pub fn new(store: S, size: u64) -> Self {
        Self {
            store,
            size: AtomicU64::new(size),
            pages: SpinLock::new(PageMap::default()),
            settled: WaitQueue::new(),
            mappings: Mappings::new(),
        }
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Pages in memory.
    pub fn resident(&self) -> usize {
        self.pages.lock().count()
    }

    /// Cuts or extends to `size` bytes, one call at a time. What is cut off goes from all mappings, private copies too.
    pub fn set_size(&self, size: u64) {
        let old = self.size.swap(size, Ordering::AcqRel);
        if size >= old {
            return;
        }
        let first = size.div_ceil(PAGE);
        let mut from = first;
        loop {
            let taken = self.pages.lock().take_first(from, u64::MAX);
            let Some((index, _)) = taken else { break };
            from = index + 1;
            // To the end, also when the task is to end.
            let _ = spans::point();
        }
        self.mappings.unmap(first, u64::MAX);
        let inside = (size % PAGE) as usize;
        let last = self.pages.lock().get(size / PAGE).cloned();
        if let Some(last) = last.filter(|_| inside > 0) {
            last.zero_from(inside);
        }
        // Those whose page is gone.
        self.settled.wake_all();
    }

    /// A page, as soon as it is there; the running task sleeps meanwhile.
    ///
    /// # Errors
    /// EFAULT behind the end, ENOMEM, EINTR if the task is killed, and what the store says.
    pub fn page(&self, index: u64, wanted: Wanted) -> Result<Frame> {
        loop {
            match self.get_page(index, wanted) {
                GetPage::Ready { frame, .. } => return Ok(frame),
                GetPage::Wait => self.await_page(index, wanted)?,
                GetPage::BeyondEnd => return Err(Errno::EFAULT),
                GetPage::NoMemory => return Err(Errno::ENOMEM),
            }
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
    }

    /// A page for the kernel to write to as long as it is pinned, as a write(2) does.
    ///
    /// # Errors
    /// As [`page`](Self::page); ENOMEM also if too many have pinned it.
    pub fn pin_for_writing(&self, index: u64) -> Result<Pinned> {
        loop {
            let pinned = Pinned::new(self.page(index, Wanted::Write)?).ok_or(Errno::ENOMEM)?;
            // If it is dirty now, who makes it clean from here on sees the pin.
            if self.pages.lock().is(index, Mark::Dirty) {
                return Ok(pinned);
            }
        }
    }

    /// Gives up pages from `from` on that are clean and were not used since this was called last, and looks at `most`: how many it gave up,
    /// and where to go on, if there are more.
    pub fn reclaim(&self, from: u64, most: usize) -> (usize, Option<u64>) {
        let (mut given, mut next) = (0, from);
        for _ in 0..most {
            let Some((index, clean)) = self.look_at_next(next) else { return (given, None) };
            next = index + 1;
            if let Some((frame, was_used)) = clean {
                let is_used = self.mappings.take_marks(index, &frame).accessed || was_used;
                given += usize::from(!is_used && self.let_go(index, frame));
            }
            // Whoever is to end may give back some memory first.
            let _ = spans::point();
        }
        (given, Some(next))
    }

    /// The first page from `from` on, and its frame and whether that was used, if it need not stay. What could not be filled need not.
    fn look_at_next(&self, from: u64) -> Option<(u64, Option<(Frame, bool)>)> {
        let mut pages = self.pages.lock();
        let index = pages.first_present(from)?;
        if is_in_use(&pages, index) {
            return Some((index, None));
        }
        let was_used = pages.is(index, Mark::Accessed);
        pages.set(index, Mark::Accessed, false);
        Some((index, pages.get(index).map(|frame| (frame.clone(), was_used))))
    }

    /// Takes a clean page from all who show it, and out, unless it is wanted again at once.
    fn let_go(&self, index: u64, frame: Frame) -> bool {
        let marks = self.mappings.unmap_page(index, &frame);
        self.note_marks(index, Marks { accessed: false, ..marks });
        let number = frame.number();
        drop(frame);
        let mut pages = self.pages.lock();
        // Who gets a page has a reference before this lock is free.
        let is_unused = pages.get(index).is_some_and(|now| now.number() == number && now.is_only());
        is_unused && !is_in_use(&pages, index) && pages.take(index).is_some()
    }

    /// Ends what was done to a page, if that is still the file's, and lets others go on.
    fn settle(&self, index: u64, frame: &Frame, with: impl FnOnce(&mut PageMap)) {
        {
            let mut pages = self.pages.lock();
            if pages.get(index).is_some_and(|now| now.number() == frame.number()) {
                with(&mut pages);
            }
        }
        self.settled.wake_all();
    }

    /// Waits until a page has lost a mark, or is gone.
    fn await_end_of(&self, index: u64, mark: Mark) -> Result<()> {
        let has_ended = || (!self.pages.lock().is(index, mark)).then_some(());
        wait_on(&[&self.settled], None, false, has_ended).map_err(|_| Errno::EINTR)
    }
}

/// Whether a page has to stay: it is dirty, or somebody is at it.
fn is_in_use(pages: &PageMap, index: u64) -> bool {
    pages.is(index, Mark::Dirty) || pages.is(index, Mark::Busy) || pages.is(index, Mark::WriteBack)
}

impl<S: PageStore> VmObject for PageCache<S> {
    fn get_page(&self, index: u64, wanted: Wanted) -> GetPage {
        let mut pages = self.pages.lock();
        if index >= self.size().div_ceil(PAGE) {
            return GetPage::BeyondEnd;
        }
        let Some(frame) = pages.get(index) else {
            let entered = Frame::allocate_zeroed().and_then(|frame| pages.insert(index, frame));
            return if entered.is_some() { GetPage::Wait } else { GetPage::NoMemory };
        };
        let frame = frame.clone();
        let is_dirty = pages.is(index, Mark::Dirty);
        if !pages.is(index, Mark::UpToDate) || wanted == Wanted::Write && !is_dirty {
            return GetPage::Wait;
        }
        pages.set(index, Mark::Accessed, true);
        GetPage::Ready { frame, writable: is_dirty }
    }

    fn await_page(&self, index: u64, wanted: Wanted) -> Result<()> {
        let mut has_waited = false;
        let (frame, work) = loop {
            {
                let mut pages = self.pages.lock();
                let Some(frame) = pages.get(index).cloned() else { return Ok(()) };
                if !pages.is(index, Mark::Busy) {
                    let is_filled = pages.is(index, Mark::UpToDate);
                    if !is_filled && has_waited && pages.is(index, Mark::Failed) {
                        return Err(Errno::EIO);
                    }
                    if is_filled && (wanted == Wanted::Read || pages.is(index, Mark::Dirty)) {
                        return Ok(());
                    }
                    pages.set(index, Mark::Busy, true);
                    pages.set(index, Mark::Failed, false);
                    break (frame, if is_filled { Work::MakeDirty } else { Work::Fill });
                }
            }
            self.await_end_of(index, Mark::Busy)?;
            has_waited = true;
        };
        let (result, mark) = match work {
            Work::Fill => (self.store.read_page(index, &frame), Mark::UpToDate),
            Work::MakeDirty => (self.store.before_dirty(index), Mark::Dirty),
        };
        self.settle(index, &frame, |pages| {
            let size = self.size();
            if mark == Mark::UpToDate && index == size / PAGE {
                // The end may have come to be in it while the store was read.
                frame.zero_from((size % PAGE) as usize);
            }
            pages.set(index, Mark::Busy, false);
            match result {
                Ok(()) => pages.set(index, mark, true),
                Err(error) => pages.set(index, Mark::Failed, error != Errno::EINTR),
            }
        });
        result
    }

    fn resident_pages(&self, first: u64, out: &mut [Option<Frame>]) {
        let pages = self.pages.lock();
        pages.copy_to(first, out);
        for (index, page) in (first..).zip(out) {
            if !pages.is(index, Mark::UpToDate) {
                *page = None;
            }
        }
    }

    fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let size = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = out.len().min(size);
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let inside = (at % PAGE) as usize;
            let now = (PAGE_SIZE - inside).min(count - done);
            let Ok(frame) = self.page(at / PAGE, Wanted::Read) else { break };
            frame.read(inside, out.get_mut(done..done + now).unwrap_or_default());
            done += now;
        }
        done
    }

    fn wants_marks(&self) -> bool {
        true
    }

    fn note_marks(&self, index: u64, marks: Marks) {
        if marks == Marks::default() {
            return;
        }
        let mut pages = self.pages.lock();
        // A page that was mapped is up to date; what has come to its place since is not the one that was written.
        if pages.is(index, Mark::UpToDate) {
            if marks.accessed {
                pages.set(index, Mark::Accessed, true);
            }
            if marks.dirty {
                pages.set(index, Mark::Dirty, true);
            }
        }
    }

    fn next_dirty(&self, from: u64) -> Option<u64> {
        self.pages.lock().first_marked(from, &[Mark::Dirty, Mark::WriteBack])
    }

    fn write_page(&self, index: u64) -> Result<()> {
        let frame = loop {
            {
                let mut pages = self.pages.lock();
                let is_leaving = pages.is(index, Mark::WriteBack);
                if !is_leaving && !pages.is(index, Mark::Dirty) {
                    return Ok(());
                }
                if !is_leaving {
                    let Some(frame) = pages.get(index).cloned() else { return Ok(()) };
                    pages.set(index, Mark::WriteBack, true);
                    pages.set(index, Mark::Dirty, false);
                    break frame;
                }
            }
            self.await_end_of(index, Mark::WriteBack)?;
        };
        // From here on each write is seen, and those before are in what the store reads now.
        self.mappings.write_protect(index, &frame);
        let result = self.store.write_page(index, &frame);
        self.settle(index, &frame, |pages| {
            pages.set(index, Mark::WriteBack, false);
            if result.is_err() || frame.is_pinned() {
                pages.set(index, Mark::Dirty, true);
            }
        });
        result
    }

    fn invalidate(&self, first: u64, end: u64) -> Result<()> {
        let mut result = Ok(());
        let mut from = first;
        loop {
            let (index, frame) = {
                let pages = self.pages.lock();
                let Some(index) = pages.first_present(from).filter(|index| *index < end) else {
                    return result;
                };
                let Some(frame) = pages.get(index) else { return result };
                (index, frame.clone())
            };
            from = index + 1;
            if !self.let_go(index, frame) {
                result = Err(Errno::EBUSY);
            }
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
    }
}
