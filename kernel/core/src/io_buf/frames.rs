// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory in page frames.

use exo_hal::{
    PAGE_SIZE,
    mm::frame::{Frame, Pinned},
};

use super::Run;

/// Frames in a row, as whoever has them keeps them.
#[derive(Clone, Copy, Debug)]
pub enum Frames<'a> {
    /// Frames that somebody has a reference to.
    Held(&'a [Frame]),
    /// Frames that are pinned, for a device or a ring.
    Pinned(&'a [Pinned]),
    /// Pages of a file, to be read: those that were never written have no frame and are zeros.
    Lent(&'a [Option<Frame>]),
}

/// A frame of them.
pub(super) enum Page<'a> {
    Frame(&'a Frame),
    Zeros,
    /// Beyond the last.
    None,
}

impl<'a> Frames<'a> {
    /// Bytes that they hold.
    pub(super) fn bytes(self) -> usize {
        PAGE_SIZE
            * match self {
                Self::Held(frames) => frames.len(),
                Self::Pinned(frames) => frames.len(),
                Self::Lent(frames) => frames.len(),
            }
    }

    fn page(self, index: usize) -> Page<'a> {
        let frame = match self {
            Self::Held(frames) => frames.get(index),
            Self::Pinned(frames) => frames.get(index).map(Pinned::frame),
            Self::Lent(frames) => match frames.get(index) {
                Some(None) => return Page::Zeros,
                frame => frame.and_then(Option::as_ref),
            },
        };
        frame.map_or(Page::None, Page::Frame)
    }

    /// The frame `index`; none if there is none, or none that can be written.
    pub fn get(self, index: usize) -> Option<&'a Frame> {
        match self.page(index) {
            Page::Frame(frame) => Some(frame),
            Page::Zeros | Page::None => None,
        }
    }

    /// As much of `left` bytes from byte `at` on as there are frames for; else what of the first page has none.
    pub(super) fn run(self, at: usize, left: usize) -> Run<'a> {
        let end = at + left;
        let mut next = at;
        while next < end && self.get(next / PAGE_SIZE).is_some() {
            next = (next + 1).next_multiple_of(PAGE_SIZE).min(end);
        }
        if next > at {
            return Run::Frames { frames: self, offset: at, length: next - at };
        }
        Run::Kernel { length: left.min(PAGE_SIZE - at % PAGE_SIZE) }
    }

    /// Does `step(page, offset in it, bytes done, bytes)` for each page of `total` bytes from byte `at` on; how many there were.
    pub(super) fn each_page(
        self,
        at: usize,
        total: usize,
        mut step: impl FnMut(Page<'a>, usize, usize, usize),
    ) -> usize {
        let mut done = 0;
        while done < total {
            let (index, offset) = ((at + done) / PAGE_SIZE, (at + done) % PAGE_SIZE);
            let count = (PAGE_SIZE - offset).min(total - done);
            match self.page(index) {
                Page::None => break,
                page => step(page, offset, done, count),
            }
            done += count;
        }
        done
    }
}
