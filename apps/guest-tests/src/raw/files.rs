// SPDX-License-Identifier: MIT OR Apache-2.0
//! `read(2)` to any address, and `mmap(2)` in ways that must be refused.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::memory::Place;

/// `read(2)` of `length` bytes to an address of any kind; returns how many the kernel has read. At most a page from the
/// start of a [`Memory`](super::Memory).
pub(crate) fn read(file: impl AsFd, to: Place<'_>, length: usize) -> Result<usize, Errno> {
    let address = to.address() as *mut libc::c_void;
    // SAFETY: `address` is in memory that is only ever read through volatile accesses, or in none that this process may
    // touch: the page that follows a `Memory` is its own and closed.
    let count = unsafe { libc::read(file.as_fd().as_raw_fd(), address, length) };
    usize::try_from(count).map_err(|_| {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        Errno::from_raw_os_error(errno)
    })
}

/// `preadv2(2)` with `RWF_NOWAIT`.
pub(crate) fn read_nowait(file: impl AsFd, to: &mut [u8]) -> Result<usize, Errno> {
    let part = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    // SAFETY: One part, which is a buffer that may be written to. −1 is the file's own position.
    let count = unsafe { libc::preadv2(file.as_fd().as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    usize::try_from(count).map_err(|_| super::last_errno())
}

/// How to map a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) length: usize,
    pub(crate) offset: u64,
    pub(crate) is_shared: bool,
    pub(crate) is_executable: bool,
}

/// Maps a file and unmaps it again, untouched.
pub(crate) fn try_map(file: impl AsFd, mapping: Mapping) -> Result<(), Errno> {
    let Mapping { length, offset, is_shared, is_executable } = mapping;
    let flags = if is_shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
    let mut access = ProtFlags::READ | ProtFlags::WRITE;
    access.set(ProtFlags::EXEC, is_executable);
    try_map_for(file, length, access, flags, offset)
}

/// The same for any access.
pub(crate) fn try_map_for(
    file: impl AsFd,
    length: usize,
    access: ProtFlags,
    flags: MapFlags,
    offset: u64,
) -> Result<(), Errno> {
    // A fixed address could be one that is in use.
    let flags = flags - (MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
    // SAFETY: The kernel chooses the address, nobody uses what is there, and exactly that is unmapped.
    unsafe {
        let start = mmap(std::ptr::null_mut(), length, access, flags, file, offset)?;
        munmap(start, length)
    }
}
