// SPDX-License-Identifier: MIT OR Apache-2.0
//! A piece of a client's file, mapped into this process, with a face that is safe whatever the client does to the file.

use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};

use rustix::fs::{fcntl_get_seals, fstat};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

use super::{DmaAccess, DmaError, copy, sigbus, unmap};

/// Whether a file is memory (a memfd, or a file on tmpfs or hugetlbfs), so that touching a mapping of it cannot make a
/// thread wait for somebody else: a FUSE file, say, would let a client stop the device for ever. Others are reached by
/// DMA messages instead. Only such files have seals, and the kernel says so without asking the file's file system.
pub(super) fn is_memory(file: BorrowedFd<'_>) -> bool {
    fcntl_get_seals(file).is_ok()
}

/// A shared mapping of part of a file.
#[derive(Debug)]
pub(super) struct Mapping {
    /// The first byte that was asked for.
    start: NonNull<u8>,
    length: usize,
    writable: bool,
    /// What `mmap` gave out: `start` and `length`, rounded to the file's pages.
    window: NonNull<libc::c_void>,
    window_length: usize,
    /// Bytes of a page of the file.
    page: usize,
    /// Set once a page of it failed.
    dead: AtomicBool,
}

// SAFETY: a `Mapping` is an address range that lives until it is dropped; all accesses to it are atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `size` bytes of `file` from `offset` on, if that takes at most `room` bytes of this process's addresses.
    ///
    /// # Errors
    /// `EINVAL`: the file ends before the range does. `ENOSPC`: there is not so much room. Else what `fstat` or `mmap` says, such as `EACCES` for a file that
    /// is not open for writing.
    pub(super) fn new(
        file: BorrowedFd<'_>,
        offset: u64,
        size: u64,
        writable: bool,
        room: u64,
    ) -> Result<Self, Errno> {
        sigbus::install();
        let stat = fstat(file)?;
        let end = offset.checked_add(size).ok_or(Errno::INVAL)?;
        if u64::try_from(stat.st_size).map_or(true, |file_size| end > file_size) {
            return Err(Errno::INVAL);
        }
        // mmap wants whole pages; a file's block size is its (huge) page size on the file systems of `is_memory`.
        let block = u64::try_from(stat.st_blksize).ok().filter(|block| block.is_power_of_two());
        let page = block.unwrap_or(1).max(rustix::param::page_size() as u64);
        let window_offset = offset - offset % page;
        let window_length = end.checked_next_multiple_of(page).ok_or(Errno::INVAL)? - window_offset;
        if window_length > room {
            return Err(Errno::NOSPC);
        }
        let page = usize::try_from(page).map_err(|_| Errno::NOMEM)?;
        let window_length = usize::try_from(window_length).map_err(|_| Errno::NOMEM)?;
        let length = usize::try_from(size).map_err(|_| Errno::NOMEM)?;
        let skipped = usize::try_from(offset - window_offset).map_err(|_| Errno::NOMEM)?;

        unmap::retry();
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        let anywhere = ptr::null_mut();
        // SAFETY: a new mapping, at an address of the kernel's choice, that nobody else knows.
        let window = unsafe { mmap(anywhere, window_length, protection, flags, file, window_offset) }?;
        let window = NonNull::new(window).ok_or(Errno::NOMEM)?;
        // The guest's memory is not for a core file of this process. Advice, so that a kernel may refuse it.
        // SAFETY: the range is the new mapping, whose content this does not change.
        let _ = unsafe { madvise(window.as_ptr(), window_length, Advice::LinuxDontDump) };
        // SAFETY: `skipped + length` is at most `window_length`, so this is inside the mapping.
        let start = unsafe { window.cast::<u8>().add(skipped) };
        Ok(Self { start, length, writable, window, window_length, page, dead: AtomicBool::new(false) })
    }

    /// Bytes of this process's addresses that it takes.
    pub(super) fn window_size(&self) -> u64 {
        self.window_length as u64
    }

    /// Runs `touch` on `length` bytes from `offset` on. `None`: the range is not in the mapping, or not for that access,
    /// or a page of the mapping failed, now or earlier.
    pub(super) fn access<R>(
        &self,
        offset: usize,
        length: usize,
        access: DmaAccess,
        touch: impl FnOnce(&GuestSlice<'_>) -> R,
    ) -> Option<R> {
        let allowed = access == DmaAccess::Read || self.writable;
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.length);
        if !allowed || !inside || self.dead.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: `offset` is inside the mapping, or one past its end for an empty slice.
        let start = unsafe { self.start.add(offset) };
        let slice = GuestSlice { start, length, writable: access == DmaAccess::Write, mapping: PhantomData };
        // SAFETY: the window is what `mmap` gave out, stays while `self` is borrowed, and is reached by nothing but
        // slices, which exist only in here.
        let outcome = unsafe {
            sigbus::guarded(self.window.as_ptr(), self.window_length, self.page, &self.dead, || touch(&slice))
        };
        (!self.dead.load(Ordering::Relaxed)).then_some(outcome)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the window is what `mmap` gave out, and as `self` is dropped, no slice of it exists.
        unsafe { unmap::unmap(self.window, self.window_length) };
    }
}

/// A range of guest memory, directly reachable, for as long as the closure runs that it was handed to
/// ([`DmaHandle::with_slice`](super::DmaHandle::with_slice)).
///
/// The guest changes its content at any time: read what matters once, into memory of your own, and judge that copy.
#[derive(Debug)]
pub struct GuestSlice<'a> {
    start: NonNull<u8>,
    length: usize,
    writable: bool,
    mapping: PhantomData<&'a Mapping>,
}

macro_rules! atomic_access {
    ($load:ident, $store:ident, $number:ty, $atomic:ty) => {
        #[doc = concat!("Loads the `", stringify!($number), "` at `offset`, in the host's byte order.")]
        ///
        /// # Errors
        /// [`DmaError::OutOfRange`], [`DmaError::Misaligned`].
        ///
        /// # Panics
        /// With an ordering that is none for loads.
        pub fn $load(&self, offset: usize, order: Ordering) -> Result<$number, DmaError> {
            let place = self.place::<$number>(offset)?;
            // SAFETY: `place` is aligned and inside mapped memory; all accesses to it are atomic.
            Ok(unsafe { (*place.cast::<$atomic>().as_ptr()).load(order) })
        }

        #[doc = concat!("Stores the `", stringify!($number), "` at `offset`, in the host's byte order.")]
        ///
        /// # Errors
        /// [`DmaError::OutOfRange`], [`DmaError::Misaligned`]; [`DmaError::NotDirect`] if the slice is for reading.
        ///
        /// # Panics
        /// With an ordering that is none for stores.
        pub fn $store(&self, offset: usize, value: $number, order: Ordering) -> Result<(), DmaError> {
            let place = self.place::<$number>(offset)?;
            self.check_writable()?;
            // SAFETY: as above, and the memory is writable.
            unsafe { (*place.cast::<$atomic>().as_ptr()).store(value, order) };
            Ok(())
        }
    };
}

impl GuestSlice<'_> {
    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies `to.len()` bytes from `offset` on out of guest memory. Not one atomic access, but many small ones.
    ///
    /// # Errors
    /// [`DmaError::OutOfRange`].
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), DmaError> {
        let from = self.range(offset, to.len())?;
        // SAFETY: `range` checked that the bytes are inside the slice, whose memory is mapped and only touched atomically.
        unsafe { copy::from_guest(from.as_ptr(), to) };
        Ok(())
    }

    /// Copies `from` to `offset`. Not one atomic access, but many small ones.
    ///
    /// # Errors
    /// [`DmaError::OutOfRange`]; [`DmaError::NotDirect`] if the slice is for reading.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        let to = self.range(offset, from.len())?;
        self.check_writable()?;
        // SAFETY: as in `read`, and the memory is writable.
        unsafe { copy::to_guest(to.as_ptr(), from) };
        Ok(())
    }

    /// Has the processor fetch all of it, to be written soon. Changes nothing, and needs no memory that is there.
    pub fn prefetch(&self) {
        copy::prefetch(self.start.as_ptr(), self.length);
    }

    atomic_access!(load_u16, store_u16, u16, AtomicU16);
    atomic_access!(load_u32, store_u32, u32, AtomicU32);
    atomic_access!(load_u64, store_u64, u64, AtomicU64);

    fn check_writable(&self) -> Result<(), DmaError> {
        if self.writable { Ok(()) } else { Err(DmaError::NotDirect) }
    }

    fn place<T>(&self, offset: usize) -> Result<NonNull<u8>, DmaError> {
        let place = self.range(offset, size_of::<T>())?;
        if place.addr().get() % size_of::<T>() != 0 {
            return Err(DmaError::Misaligned);
        }
        Ok(place)
    }

    fn range(&self, offset: usize, length: usize) -> Result<NonNull<u8>, DmaError> {
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(DmaError::OutOfRange);
        }
        // SAFETY: `offset` is inside the slice or one past its end.
        Ok(unsafe { self.start.add(offset) })
    }
}
