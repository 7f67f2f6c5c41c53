// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files and buffers that a program has registered with a ring.

use alloc::{sync::Arc, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame::Pinned};

use crate::{
    errno::{Errno, Result},
    fallible,
    fs::OpenFile,
    io_buf::Frames,
    mm::AddressSpace,
    user::IoVec,
};

/// Most buffers, as on Linux.
pub(super) const MOST_BUFFERS: usize = 1 << 14;
/// Most bytes of a buffer, as on Linux.
const MOST_BYTES: usize = 1 << 30;
/// Most files, as many as descriptors on Linux by default.
pub(super) const MOST_FILES: usize = 1 << 15;

/// A registered buffer: the program's memory, held.
pub(super) struct Buffer {
    address: usize,
    length: usize,
    frames: Vec<Pinned>,
}

impl Buffer {
    /// Takes hold of the program's memory; all of it must be writable.
    pub(super) fn new(memory: &AddressSpace, vector: &IoVec) -> Result<Self> {
        if vector.length == 0 || vector.length > MOST_BYTES {
            return Err(Errno::EFAULT);
        }
        let end = vector.base.checked_add(vector.length).ok_or(Errno::EOVERFLOW)?;
        let first = vector.base - vector.base % PAGE_SIZE;
        let count = (end - first).div_ceil(PAGE_SIZE);
        let mut frames = fallible::list(count)?;
        for page in (first..end).step_by(PAGE_SIZE) {
            frames.push(memory.pin_for_writing(page)?);
        }
        Ok(Self { address: vector.base, length: vector.length, frames })
    }

    /// Its frames, and where in them the byte at `address` is; none if `length` bytes there are not part of it.
    pub(super) fn part(&self, address: usize, length: usize) -> Option<(Frames<'_>, usize)> {
        let start = address.checked_sub(self.address)?;
        start.checked_add(length).filter(|end| *end <= self.length)?;
        Some((Frames::Pinned(&self.frames), self.address % PAGE_SIZE + start))
    }
}

/// What is registered.
#[derive(Default)]
pub(super) struct Resources {
    /// The buffers; empty places have none.
    pub(super) buffers: Option<Vec<Option<Arc<Buffer>>>>,
    /// The files; empty places have none.
    pub(super) files: Option<Vec<Option<Arc<OpenFile>>>>,
}

impl Resources {
    /// Bytes of buffers that are mapped nowhere any more: what only the registration keeps.
    pub(super) fn unmapped_bytes(&self) -> usize {
        let buffers = self.buffers.iter().flatten().flatten();
        buffers.flat_map(|buffer| buffer.frames.iter()).filter(|page| page.is_last()).count() * PAGE_SIZE
    }

    /// The registered file `index`.
    pub(super) fn file(&self, index: i32) -> Option<Arc<OpenFile>> {
        self.files.as_ref()?.get(usize::try_from(index).ok()?)?.clone()
    }

    /// The registered buffer `index`.
    pub(super) fn buffer(&self, index: u16) -> Option<Arc<Buffer>> {
        self.buffers.as_ref()?.get(usize::from(index))?.clone()
    }
}
