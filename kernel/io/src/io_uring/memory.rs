// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory that a ring shares with its program.

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame::Frame};
use exo_logic::uring::Shared;

use crate::{
    errno::{Errno, Result},
    mm::{Pages, page_up},
};

/// Page frames that the program may map, and the kernel's own way to them, which no change of the mapping touches.
pub(super) struct Area {
    pages: Arc<Pages>,
    frames: Vec<Frame>,
}

impl Area {
    /// Zeros, `bytes` of them rounded up to whole pages.
    pub(super) fn new(bytes: usize) -> Result<Self> {
        let bytes = page_up(bytes).ok_or(Errno::ENOMEM)?;
        let pages = Arc::new(Pages::new(bytes as u64));
        let frames = (0..bytes / PAGE_SIZE).map(|index| pages.frame(index).ok_or(Errno::ENOMEM));
        Ok(Self { frames: frames.collect::<Result<_>>()?, pages })
    }

    /// The pages to map, if the area has `length` bytes.
    pub(super) fn pages(&self, length: usize) -> Result<Arc<Pages>> {
        let fits = page_up(length).is_some_and(|length| length as u64 <= self.pages.size());
        if fits { Ok(self.pages.clone()) } else { Err(Errno::EINVAL) }
    }

    fn frame(&self, offset: u32) -> Option<(&Frame, usize)> {
        Some((self.frames.get(offset as usize / PAGE_SIZE)?, offset as usize % PAGE_SIZE))
    }

    /// Sets or clears bits of a word that the kernel alone writes.
    pub(super) fn change(&self, offset: u32, bits: u32, on: bool) {
        if let Some(word) = self.frame(offset).and_then(|(frame, at)| frame.word32(at)) {
            if on {
                word.fetch_or(bits, Ordering::SeqCst);
            } else {
                word.fetch_and(!bits, Ordering::SeqCst);
            }
        }
    }
}

impl Shared for Area {
    #[inline]
    fn load(&self, offset: u32) -> u32 {
        self.frame(offset).and_then(|(frame, at)| frame.word32(at)).map_or(0, |w| w.load(Ordering::SeqCst))
    }

    #[inline]
    fn store(&self, offset: u32, value: u32) {
        if let Some(word) = self.frame(offset).and_then(|(frame, at)| frame.word32(at)) {
            word.store(value, Ordering::Release);
        }
    }

    #[inline]
    fn load64(&self, offset: u32) -> u64 {
        self.frame(offset).and_then(|(frame, at)| frame.word64(at)).map_or(0, |w| w.load(Ordering::Relaxed))
    }

    #[inline]
    fn store64(&self, offset: u32, value: u64) {
        if let Some(word) = self.frame(offset).and_then(|(frame, at)| frame.word64(at)) {
            word.store(value, Ordering::Relaxed);
        }
    }
}
