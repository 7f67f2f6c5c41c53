// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holding on to a program's pages, so that a device can read or write them without a copy.

use exo_hal::{PAGE_SIZE, USER_END, mm::frame::Pinned};
use exo_platform::{Buffer, Pages};

use super::{AddressSpace, Inner, advise::preemption_point};
use exo_core::{
    errno::{Errno, Result},
    io_buf::{Frames, Run},
};

/// The first `length` bytes of the memory of a call as a buffer, 1 to [`Buffer::MAX`]; `memory` is the running program's. For `write`, a
/// device may write there.
///
/// # Errors
/// EFAULT for memory that is bad or beyond the run, ENOMEM for a page that has too many pins, EINVAL for what is no device's to reach.
pub fn run(memory: &AddressSpace, run: &Run<'_>, length: usize, write: bool) -> Result<Buffer> {
    match *run {
        Run::Program { address, .. } => memory.pin(address, length, write),
        Run::Frames { frames, offset, .. } => pin_frames(frames, offset, length),
        Run::Kernel { .. } => Err(Errno::EINVAL),
    }
}

/// `length` bytes of frames from byte `offset` on as a buffer.
///
/// # Errors
/// As [`run`].
pub fn pin_frames(frames: Frames<'_>, offset: usize, length: usize) -> Result<Buffer> {
    let mut pages = Pages::new();
    for index in offset / PAGE_SIZE..(offset + length).div_ceil(PAGE_SIZE) {
        let frame = frames.get(index).ok_or(Errno::EFAULT)?;
        let page = Pinned::new(frame.clone()).ok_or(Errno::ENOMEM)?;
        pages.try_push(page).map_err(|_| Errno::EINVAL)?;
    }
    Buffer::pages(pages, offset % PAGE_SIZE, length).ok_or(Errno::EINVAL)
}

impl Inner {
    /// The page at `at`, if it is there and can be used so. It is pinned before the lock is given back: a fork sees that, or has been seen. A
    /// child gets a copy, so that what a device still writes reaches who asked for it.
    fn pin(&self, at: usize, write: bool) -> Option<Result<Pinned>> {
        let page = self.table.get(at).filter(|page| page.present && (page.writable || !write))?;
        Some(Pinned::new(page.frame).ok_or(Errno::ENOMEM))
    }
}

impl AddressSpace {
    /// The frame at `address` as memory that a device, or the kernel on the program's behalf, may write to until it is let go. The address
    /// space need not be the loaded one. An object that is told of writes counts the page as written as long as it is pinned.
    pub fn pin_for_writing(&self, address: usize) -> Result<Pinned> {
        loop {
            let pinned = self.inner.lock().pin(address & !(PAGE_SIZE - 1), true);
            if let Some(pinned) = pinned {
                return pinned;
            }
            self.handle_fault(address, true, false)?;
            preemption_point()?;
        }
    }

    /// The memory from `start` on as a buffer of `length` bytes, 1 to [`Buffer::MAX`]. For `write`, a device may write there: the pages
    /// are the program's own by then. They stay what they are even if the program unmaps them meanwhile; that it does not use them until
    /// the request has ended is its own business.
    pub fn pin(&self, start: usize, length: usize, write: bool) -> Result<Buffer> {
        let end = start.checked_add(length).filter(|end| *end <= USER_END).ok_or(Errno::EFAULT)?;
        let first = start - start % PAGE_SIZE;
        let mut pages = Pages::new();
        let mut inner = self.inner.lock();
        for at in (first..end).step_by(PAGE_SIZE) {
            let page = loop {
                if let Some(page) = inner.pin(at, write) {
                    break page?;
                }
                drop(inner);
                // Until it is there: it may be taken again at once.
                self.handle_fault(at, write, false)?;
                preemption_point()?;
                inner = self.inner.lock();
            };
            pages.try_push(page).map_err(|_| Errno::EINVAL)?;
        }
        drop(inner);
        Buffer::pages(pages, start % PAGE_SIZE, length).ok_or(Errno::EINVAL)
    }
}
