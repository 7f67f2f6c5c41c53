// SPDX-License-Identifier: MIT OR Apache-2.0
//! Buffers at page boundaries, as O_DIRECT wants them.

use std::io;

use crate::Failure;

/// Memory of its own mapping, given back when dropped. Devices write to it, so it is only handed out as addresses.
pub(crate) struct Memory {
    address: *mut u8,
    length: usize,
}

impl Memory {
    /// Maps `length` bytes and touches each page, so that no request meets one that is not there yet.
    pub(crate) fn new(length: usize) -> Result<Self, Failure> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at a place that the kernel chooses takes nothing away.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().into());
        }
        let memory = Self { address: address.cast(), length };
        for offset in (0..length).step_by(4096) {
            // SAFETY: inside the mapping, which nobody else has.
            unsafe { memory.address.add(offset).write_volatile(offset as u8) };
        }
        Ok(memory)
    }

    /// The address of the part `index` of parts that are `size` bytes long.
    pub(crate) fn part(&self, index: usize, size: usize) -> *mut u8 {
        debug_assert!((index + 1) * size <= self.length, "a part beyond the end");
        self.address.wrapping_add(index * size)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's alone, and no request is on its way any more. An error could not be mended.
        unsafe { libc::munmap(self.address.cast(), self.length) };
    }
}
