// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of a file, or of memory that several processes share: page frames in order, made when they are first needed.

use core::{
    any::Any,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use alloc::{sync::Arc, vec::Vec};

use exo_hal::{
    PAGE_SIZE,
    mm::{
        frame::{self, Frame},
        user,
    },
    sync::SpinLock,
};

use crate::errno::{Errno, Result};

const PAGE: u64 = PAGE_SIZE as u64;
/// Largest file: what the page index can name with room to spare.
pub const MAX_SIZE: u64 = 1 << 40;

/// What programs may do with pages that they map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// What the mapping says.
    #[default]
    Free,
    /// Neither write nor execute them, now or later.
    ReadOnly,
    /// Keep them to themselves: a child does not inherit the mapping.
    OneProcess,
}

/// Pages that files with a name take. They go only when somebody deletes them and nobody can be ended for them, so files may have half of
/// the memory, as a tmpfs on Linux, and an eighth is left for programs.
static FILE_PAGES: AtomicUsize = AtomicUsize::new(0);

/// Bytes in page frames. Pages that were never written read as zeros and take no memory.
#[derive(Default)]
pub struct Pages {
    frames: SpinLock<Vec<Option<Frame>>>,
    size: AtomicU64,
    /// Pages in memory.
    held: AtomicUsize,
    /// It is a file's, so that it counts in [`FILE_PAGES`].
    is_file: bool,
    sharing: Sharing,
    /// What must stay as long as anybody has it mapped.
    _keeps: Option<Arc<dyn Any + Send + Sync>>,
}

impl Pages {
    /// An empty file.
    pub fn file() -> Self {
        let mut this = Self::default();
        this.is_file = true;
        this
    }

    /// `size` bytes of zeros, which go with the last who has them.
    pub fn new(size: u64) -> Self {
        let mut this = Self::default();
        this.size = AtomicU64::new(size);
        this
    }

    /// Frames of the kernel's that programs may map. `keeps` stays as long as they are mapped.
    pub fn of_frames(frames: Vec<Frame>, sharing: Sharing, keeps: Arc<dyn Any + Send + Sync>) -> Self {
        let size = AtomicU64::new(frames.len() as u64 * PAGE);
        let held = AtomicUsize::new(frames.len());
        let frames = SpinLock::new(frames.into_iter().map(Some).collect());
        Self { frames, size, held, is_file: false, sharing, _keeps: Some(keeps) }
    }

    /// What programs may do with it.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// A copy of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let pages = Self::new(0);
        for (index, chunk) in bytes.chunks(PAGE_SIZE).enumerate() {
            let frame = Frame::allocate().ok_or(Errno::ENOSPC)?;
            frame.write(0, chunk);
            frame.zero_from(chunk.len());
            pages.put(index, frame)?;
        }
        pages.size.store(bytes.len() as u64, Ordering::Release);
        Ok(pages)
    }

    fn put(&self, index: usize, frame: Frame) -> Result<()> {
        let mut frames = self.frames.lock();
        if frames.len() <= index {
            let more = index + 1 - frames.len();
            frames.try_reserve(more).map_err(|_| Errno::ENOSPC)?;
            frames.resize(index + 1, None);
        }
        if let Some(slot) = frames.get_mut(index) {
            *slot = Some(frame);
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
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
        self.frames.lock().get(index).cloned().flatten()
    }

    /// The frame of page `index`, made if need be; none when memory is short.
    pub fn frame(&self, index: usize) -> Option<Frame> {
        if let Some(frame) = self.existing(index) {
            return Some(frame);
        }
        let new = Frame::allocate_zeroed()?;
        let mut frames = self.frames.lock();
        if frames.len() <= index {
            // A page far behind the others costs a list up to it: only if that much memory is there.
            let more = index + 1 - frames.len();
            if !frame::available(more.saturating_mul(size_of::<Option<Frame>>()) / PAGE_SIZE) {
                return None;
            }
            frames.try_reserve(more).ok()?;
            frames.resize(index + 1, None);
        }
        let slot = frames.get_mut(index)?;
        if slot.is_none() && !self.charge() {
            return None;
        }
        Some(slot.get_or_insert(new).clone())
    }

    /// Counts a page more; false if files may have no more.
    fn charge(&self) -> bool {
        if self.is_file {
            let total = frame::totals().0;
            if FILE_PAGES.fetch_add(1, Ordering::Relaxed) >= total / 2 || !frame::available(total / 8) {
                FILE_PAGES.fetch_sub(1, Ordering::Relaxed);
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
    }

    /// Copies from `offset` to `out`; how many bytes there were.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        self.each_page(offset, out.len(), |frame, at, done, count| {
            let part = out.get_mut(done..done + count).unwrap_or_default();
            match frame {
                Some(frame) => frame.read(at, part),
                None => part.fill(0),
            }
            Ok(())
        })
        .unwrap_or(0)
    }

    /// Walks the pages of `offset..offset + length` as far as the content goes: `each(frame, offset in it, bytes done,
    /// bytes)`. An error after the first page ends the walk with what is done.
    fn each_page(
        &self,
        offset: u64,
        length: usize,
        mut each: impl FnMut(Option<Frame>, usize, usize, usize) -> Result<()>,
    ) -> Result {
        let left = self.size().saturating_sub(offset);
        let total = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        let mut done = 0;
        while done < total {
            let position = offset + done as u64;
            let at = (position % PAGE) as usize;
            let count = (PAGE_SIZE - at).min(total - done);
            let frame = self.existing((position / PAGE) as usize);
            match each(frame, at, done, count) {
                Ok(()) => done += count,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Copies to the program's memory; how many bytes there were.
    pub fn read_user(&self, offset: u64, to: usize, length: usize) -> Result {
        self.each_page(offset, length, |frame, at, done, count| {
            let to = to.wrapping_add(done);
            match frame {
                Some(frame) => user::frame_to_user(&frame, at, to, count)?,
                None => user::zero(to, count)?,
            };
            Ok(())
        })
    }

    /// Writes with `copy(frame, offset in it, bytes done, bytes)` at each page, and grows as needed.
    fn write_with(
        &self,
        offset: u64,
        length: usize,
        mut copy: impl FnMut(&Frame, usize, usize, usize) -> Result<()>,
    ) -> Result {
        if offset.checked_add(length as u64).is_none_or(|end| end > MAX_SIZE) {
            return Err(Errno::EFBIG);
        }
        let mut done = 0;
        while done < length {
            let position = offset + done as u64;
            let at = (position % PAGE) as usize;
            let count = (PAGE_SIZE - at).min(length - done);
            let step = self.frame((position / PAGE) as usize).ok_or(Errno::ENOSPC);
            match step.and_then(|frame| copy(&frame, at, done, count)) {
                Ok(()) => done += count,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            self.size.fetch_max(offset + done as u64, Ordering::AcqRel);
        }
        Ok(done)
    }

    /// Copies from the kernel's memory.
    pub fn write_bytes(&self, offset: u64, from: &[u8]) -> Result {
        self.write_with(offset, from.len(), |frame, at, done, count| {
            frame.write(at, from.get(done..done + count).unwrap_or_default());
            Ok(())
        })
    }

    /// Copies from the program's memory.
    pub fn write_user(&self, offset: u64, from: usize, length: usize) -> Result {
        self.write_with(offset, length, |frame, at, done, count| {
            Ok(user::user_to_frame(frame, at, from.wrapping_add(done), count)?)
        })
    }

    /// Cuts or extends to `size` bytes.
    pub fn truncate(&self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let mut frames = self.frames.lock();
        let old = self.size.swap(size, Ordering::AcqRel);
        if size < old {
            let first = (size.div_ceil(PAGE) as usize).min(frames.len());
            let gone = frames.drain(first..).flatten().count();
            self.uncharge(gone);
            // What is cut off must read as zeros if the file grows again.
            if size % PAGE != 0 {
                if let Some(Some(last)) = frames.get((size / PAGE) as usize) {
                    last.zero_from((size % PAGE) as usize);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.is_file {
            self.uncharge(self.held.load(Ordering::Relaxed));
        }
    }
}
