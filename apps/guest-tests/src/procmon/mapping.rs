// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mmap(2)` with any access, length and offset: the only unsafe code of this group.
#![expect(unsafe_code, reason = "the purpose of this module")]

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Maps a file and unmaps it again, untouched.
pub(super) fn try_map(
    file: impl AsFd,
    length: usize,
    access: ProtFlags,
    flags: MapFlags,
    offset: u64,
) -> Result<(), Errno> {
    // SAFETY: The kernel chooses the address, nobody uses what is there, and exactly that is unmapped.
    unsafe {
        let start = mmap(std::ptr::null_mut(), length, access, flags, file, offset)?;
        munmap(start, length)
    }
}
