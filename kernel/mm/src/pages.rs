// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of a file, or of memory that several processes share: page frames in order, made when they are first needed.

mod vm_object;

use core::{
    any::Any,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use alloc::{sync::Arc, vec::Vec};

use exo_hal::{
    PAGE_SIZE,
    mm::frame::{self, Frame},
    sync::SpinLock,
};
use linux_raw_sys::general::{F_SEAL_SEAL, F_SEAL_WRITE};

use super::{dead_pages, mappings::Mappings, object::Sharing, page_map::PageMap, quota::Quota, seals::Seals};
use exo_core::{
    errno::{Errno, Result},
    fallible,
    io_buf::{Frames, IoBuf, IoSource},
    sched::{mutex::Mutex, spans},
};

const PAGE: u64 = PAGE_SIZE as u64;
/// Largest file in bytes, as on Linux.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// Pages that are lent at a time.
const LENT: usize = 8;

/// Pages of a file that somebody reads without a copy of them.
pub struct Lent {
    /// What was never written has no frame.
    frames: [Option<Frame>; LENT],
    /// Bytes of the first page that do not belong to it.
    skip: usize,
    length: usize,
}

impl Lent {
    /// Their bytes.
    pub fn source(&self) -> IoSource<'_> {
        IoSource::frames(Frames::Lent(&self.frames), self.skip, self.length)
    }
}

/// Pages that files with a name take. They go only when somebody deletes them and nobody can be ended for them, so files may have half of
/// the memory, as a tmpfs on Linux, and an eighth is left for programs.
static FILE_PAGES: AtomicUsize = AtomicUsize::new(0);

/// Bytes in page frames. Pages that were never written read as zeros and take no memory.
#[derive(Default)]
pub struct Pages {
    frames: SpinLock<PageMap>,
    size: AtomicU64,
    /// Pages in memory, to be read without a lock.
    held: AtomicUsize,
    /// It is a file's, so that it counts in [`FILE_PAGES`].
    is_file: bool,
    /// Held by whoever writes or changes the size: an append finds the end where it was, and two writes do not mix.
    changing: Mutex,
    mappings: Mappings,
    sharing: Sharing,
    /// What may not be done to it.
    pub seals: Seals,
    /// Where its pages count.
    quota: Option<Arc<Quota>>,
    /// What must stay as long as anybody has it mapped.
    _keeps: Option<Arc<dyn Any + Send + Sync>>,
}

impl Pages {
    /// `size` bytes of zeros, which go with the last who has them.
    pub fn new(size: u64) -> Self {
        let pages = Self::default();
        pages.size.store(size, Ordering::Release);
        pages
    }

    /// An empty file whose pages count in `quota`.
    pub fn charged_to(quota: Arc<Quota>) -> Self {
        let mut pages = Self::default();
        pages.quota = Some(quota);
        pages.is_file = true;
        pages
    }

    /// Frames of the kernel's that programs may map. `keeps` stays as long as they are mapped.
    pub fn of_frames(frames: Vec<Frame>, sharing: Sharing, keeps: Arc<dyn Any + Send + Sync>) -> Self {
        let size = AtomicU64::new(frames.len() as u64 * PAGE);
        let held = AtomicUsize::new(frames.len());
        let mut map = PageMap::default();
        for (index, frame) in (0..).zip(frames) {
            map.insert(index, frame);
        }
        Self {
            frames: SpinLock::new(map),
            size,
            held,
            is_file: false,
            changing: Mutex::new(),
            mappings: Mappings::new(),
            sharing,
            seals: Seals::default(),
            quota: None,
            _keeps: Some(keeps),
        }
    }

    /// A copy of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let pages = Self::new(0);
        for (index, chunk) in (0..).zip(bytes.chunks(PAGE_SIZE)) {
            let frame = Frame::allocate().ok_or(Errno::ENOSPC)?;
            frame.write(0, chunk);
            frame.zero_from(chunk.len());
            pages.frames.lock().insert(index, frame).ok_or(Errno::ENOSPC)?;
            pages.held.fetch_add(1, Ordering::Relaxed);
        }
        pages.size.store(bytes.len() as u64, Ordering::Release);
        Ok(pages)
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Pages in memory.
    pub fn resident(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The frame of page `index`, if it exists.
    pub fn existing(&self, index: usize) -> Option<Frame> {
        self.frames.lock().get(index as u64).cloned()
    }

    /// The frame of page `index`, made if need be; none when memory is short, or there may be no more pages.
    pub fn frame(&self, index: usize) -> Option<Frame> {
        if let Some(frame) = self.existing(index) {
            return Some(frame);
        }
        if !self.charge() {
            return None;
        }
        let entered = Frame::allocate_zeroed().and_then(|new| {
            let mut frames = self.frames.lock();
            let before = frames.count();
            let frame = frames.insert(index as u64, new)?.clone();
            Some((frame, frames.count() > before))
        });
        let is_new = entered.as_ref().is_some_and(|(_, is_new)| *is_new);
        if !is_new {
            // There was no memory, or somebody else was faster.
            self.uncharge(1);
        }
        entered.map(|(frame, _)| frame)
    }

    /// Takes out the pages from `start` to `end`, of mappings too, where private copies stay.
    fn discard(&self, start: u64, end: u64) {
        /// Pages that are looked for in the mappings at once.
        const AT_ONCE: usize = 64;
        let mut taken = Vec::with_capacity(AT_ONCE);
        let mut from = start;
        loop {
            {
                let mut frames = self.frames.lock();
                taken.extend(core::iter::from_fn(|| frames.take_first(from, end)).take(AT_ONCE));
            }
            let Some((last, _)) = taken.last() else { return };
            from = last + 1;
            self.uncharge(taken.len());
            self.mappings.unmap_taken(&taken);
            taken.clear();
            // To the end, also when the task is to end.
            let _ = spans::point();
        }
    }

    /// Takes out all pages from `start` on, of mappings too, with the private copies there.
    fn cut_off(&self, start: u64) {
        let mut from = start;
        loop {
            let taken = self.frames.lock().take_first(from, u64::MAX);
            let Some((index, frame)) = taken else { break };
            drop(frame);
            self.uncharge(1);
            from = index + 1;
            // To the end, also when the task is to end.
            let _ = spans::point();
        }
        self.mappings.unmap(start, u64::MAX);
    }

    /// Where the first byte of data at or behind `offset` is; none if there is none.
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        let size = self.size();
        if offset >= size {
            return None;
        }
        let index = self.frames.lock().first_present(offset / PAGE)?;
        Some((index * PAGE).max(offset)).filter(|at| *at < size)
    }

    /// Where the first byte of a hole at or behind `offset` is: the end is one. None if `offset` is not before the end.
    pub fn next_hole(&self, offset: u64) -> Option<u64> {
        let size = self.size();
        if offset >= size {
            return None;
        }
        let index = self.frames.lock().first_missing(offset / PAGE);
        Some((index * PAGE).max(offset).min(size))
    }

    /// Counts a page more; false if files may have no more.
    fn charge(&self) -> bool {
        if self.quota.as_ref().is_some_and(|quota| !quota.charge()) {
            return false;
        }
        if self.is_file {
            let total = frame::totals().0;
            if FILE_PAGES.fetch_add(1, Ordering::Relaxed) >= total / 2 || !frame::available(total / 8) {
                FILE_PAGES.fetch_sub(1, Ordering::Relaxed);
                if let Some(quota) = &self.quota {
                    quota.uncharge(1);
                }
                return false;
            }
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Counts `pages` pages less.
    fn uncharge(&self, pages: usize) {
        self.held.fetch_sub(pages, Ordering::Relaxed);
        if self.is_file {
            FILE_PAGES.fetch_sub(pages, Ordering::Relaxed);
        }
        if let Some(quota) = &self.quota {
            quota.uncharge(pages);
        }
    }

    /// Adds seals while nobody changes it. EBUSY, and no seal, if `is_in_use` says so then.
    pub fn seal(&self, bits: u32, is_in_use: impl FnOnce() -> bool) -> Result<()> {
        let _changing = self.changing.lock()?;
        let old = self.seals.bits();
        if old & F_SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        // First the seal, then the look: who maps it from now on sees the seal.
        self.seals.add(bits);
        if bits & F_SEAL_WRITE != 0 && old & F_SEAL_WRITE == 0 && (is_in_use() || self.is_pinned()) {
            self.seals.take_back(bits & !old);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// Whether a device or a ring has hold of a page, to write to it later.
    fn is_pinned(&self) -> bool {
        let mut next = 0;
        loop {
            let frames = self.frames.lock();
            let Some(index) = frames.first_present(next) else { return false };
            if frames.get(index).is_some_and(Frame::is_pinned) {
                return true;
            }
            next = index + 1;
            drop(frames);
            if spans::point() {
                // Nothing is sealed any more by who is to end.
                return true;
            }
        }
    }

    /// Copies from `offset` to `to`, as far as the content goes; how many bytes.
    ///
    /// # Errors
    /// EFAULT if the memory is bad where it begins.
    pub fn read(&self, offset: u64, to: &mut IoBuf<'_>) -> Result {
        let there = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        to.within(there, |to| {
            to.count(|to| {
                let mut position = offset;
                while !to.is_empty() {
                    let at = (position % PAGE) as usize;
                    let count = (PAGE_SIZE - at).min(to.left());
                    let done = match self.existing((position / PAGE) as usize) {
                        Some(frame) => to.put_frame(&frame, at, count)?,
                        None => to.zero(count)?,
                    };
                    position += done as u64;
                    if done < count || spans::point() {
                        break;
                    }
                }
                Ok(())
            })
        })
    }

    /// The pages of the next bytes from `offset` on, `most` at most, as far as the content goes: to be read without a copy. What is
    /// written meanwhile may be seen or not.
    pub fn lend(&self, offset: u64, most: usize) -> Lent {
        let there = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let (first, skip) = ((offset / PAGE) as usize, (offset % PAGE) as usize);
        let length = there.min(most).min(LENT * PAGE_SIZE - skip);
        let pages = (skip + length).div_ceil(PAGE_SIZE);
        let mut frames = [const { None }; LENT];
        for (index, frame) in (first..).zip(frames.iter_mut().take(pages)) {
            *frame = self.existing(index);
        }
        Lent { frames, skip, length }
    }

    /// Writes from `from` to `offset`, or to the end if there is none; where that was, and how many bytes. All of it goes behind each
    /// other, and nobody else's between. `clip(offset)` says how many bytes may be written there.
    ///
    /// # Errors
    /// EFAULT if the memory is bad where it begins, ENOSPC without memory, EFBIG beyond [`MAX_SIZE`], EPERM for a seal, and those of `clip`.
    pub fn write(
        &self,
        offset: Option<u64>,
        from: &mut IoSource<'_>,
        clip: impl FnOnce(u64) -> Result<usize>,
    ) -> Result<(u64, usize)> {
        let _changing = self.changing.lock()?;
        let offset = offset.unwrap_or_else(|| self.size());
        let length = clip(offset)?;
        let room = usize::try_from(MAX_SIZE.saturating_sub(offset)).unwrap_or(usize::MAX);
        if length > 0 && room == 0 {
            return Err(Errno::EFBIG);
        }
        let length = length.min(room);
        if length > 0 {
            self.seals.check_write()?;
            let size = self.size();
            self.seals.check_size(size, size.max(offset + length as u64))?;
        }
        let count = from.within(length, |from| from.count(|from| self.copy_in(offset, from)))?;
        Ok((offset, count))
    }

    /// Copies all of `from` into the pages from `offset` on, which are made as needed, up to what is bad of it.
    fn copy_in(&self, offset: u64, from: &mut IoSource<'_>) -> Result<()> {
        let mut position = offset;
        while !from.is_empty() {
            let at = (position % PAGE) as usize;
            let count = (PAGE_SIZE - at).min(from.left());
            let frame = self.frame((position / PAGE) as usize).ok_or(Errno::ENOSPC)?;
            let done = from.take_to_frame(&frame, at, count)?;
            position += done as u64;
            self.size.fetch_max(position, Ordering::AcqRel);
            if done < count || spans::point() {
                break;
            }
        }
        Ok(())
    }

    /// Cuts or extends to `size` bytes.
    pub fn truncate(&self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let _changing = self.changing.lock()?;
        self.seals.check_size(self.size(), size)?;
        let old = self.size.swap(size, Ordering::AcqRel);
        if size < old {
            self.cut_off(size.div_ceil(PAGE));
            self.zero_part(size, size.next_multiple_of(PAGE));
        }
        Ok(())
    }

    /// Fills `start..end`, which is in one page, with zeros, if that page has memory.
    fn zero_part(&self, start: u64, end: u64) {
        if start == end {
            return;
        }
        let frame = self.frames.lock().get(start / PAGE).cloned();
        if let Some(frame) = frame {
            let length = usize::try_from(end - start).unwrap_or(PAGE_SIZE);
            frame.zero_range((start % PAGE) as usize, length);
        }
    }

    /// Makes `start..end` read as zeros, and gives back the memory of whole pages. What a private mapping has copied stays.
    pub fn punch_hole(&self, start: u64, end: u64) -> Result<()> {
        let _changing = self.changing.lock()?;
        self.seals.check_write()?;
        let (first, last) = (start.div_ceil(PAGE), end / PAGE);
        if first > last {
            self.zero_part(start, end);
            return Ok(());
        }
        self.zero_part(start, first * PAGE);
        self.zero_part(last * PAGE, end);
        self.discard(first, last);
        Ok(())
    }

    /// Gives memory to `start..end`: all of it, or none with ENOSPC. The file grows to `end` unless `keeps_size`.
    pub fn allocate(&self, start: u64, end: u64, keeps_size: bool) -> Result<()> {
        let _changing = self.changing.lock()?;
        self.seals.check_size(self.size(), self.size().max(end))?;
        let (first, last) = (start / PAGE, end.div_ceil(PAGE));
        let wanted = usize::try_from(last - first).map_err(|_| Errno::ENOSPC)?;
        let limit = self.quota.as_ref().map_or(0, |quota| quota.limit());
        if limit > 0 && wanted > limit || wanted > frame::totals().0 {
            return Err(Errno::ENOSPC);
        }
        let mut made: Vec<u64> = fallible::list(wanted).map_err(|_| Errno::ENOSPC)?;
        for index in first..last {
            if self.existing(index as usize).is_some() {
                continue;
            }
            let is_killed = spans::point();
            if is_killed || self.frame(index as usize).is_none() {
                for index in made {
                    self.discard(index, index + 1);
                }
                return Err(if is_killed { Errno::EINTR } else { Errno::ENOSPC });
            }
            made.push(index);
        }
        if !keeps_size {
            self.size.fetch_max(end, Ordering::AcqRel);
        }
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.uncharge(self.resident());
        dead_pages::lay_aside(core::mem::take(self.frames.get_mut()));
    }
}
