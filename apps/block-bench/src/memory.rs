// SPDX-License-Identifier: MIT OR Apache-2.0
//! Buffers at page boundaries, as O_DIRECT wants them.

use std::io;

use memmap2::{MmapMut, MmapRaw};

/// Memory of its own mapping, given back when dropped. Devices write to it, so it is only handed out as addresses.
pub(crate) struct Memory(MmapRaw);

impl Memory {
    /// Maps `length` bytes and writes to all of them, so that no request meets a page that is not there yet.
    pub(crate) fn new(length: usize) -> io::Result<Self> {
        let mut map = MmapMut::map_anon(length)?;
        map.fill(0);
        Ok(Self(map.into()))
    }

    /// The address of the part `index` of parts that are `size` bytes long.
    pub(crate) fn part(&self, index: usize, size: usize) -> *mut u8 {
        debug_assert!((index + 1) * size <= self.0.len(), "a part beyond the end");
        self.0.as_mut_ptr().wrapping_add(index * size)
    }
}
