// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages to hand to the kernel: readable, writable, or not there at all.

use std::marker::PhantomData;
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Size of a page of this architecture in bytes.
pub(crate) const PAGE: usize = 4096;

/// `MAP_32BIT` (`arch/x86/include/uapi/asm/mman.h`), which rustix has no name for.
const BELOW_2_GIB: MapFlags = MapFlags::from_bits_retain(0x40);

/// What a program may do with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read and write it.
    Full,
    /// Only read it.
    ReadOnly,
    /// Neither.
    None,
}

/// A page of this process's memory below 4 GiB, so that a 32-bit pointer reaches it, followed by one that may not be
/// touched. No reference into it is ever given out: the kernel may change it at any time.
#[derive(Debug)]
pub(crate) struct Memory {
    start: *mut u8,
    _not_shared: PhantomData<*mut u8>,
}

/// Where an ioctl's argument shall be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// At address 0.
    Null,
    /// In the kernel's half of the address space.
    Kernel,
    /// At an address that no page can ever have.
    NonCanonical,
    /// So many bytes into the first page.
    In(&'a Memory, usize),
}

impl Memory {
    /// Two fresh pages of zeros: one with this access, the next with none.
    pub(crate) fn new(access: Access) -> rustix::io::Result<Self> {
        // SAFETY: A null hint without MAP_FIXED: the kernel chooses addresses that are free.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                PAGE * 2,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | BELOW_2_GIB,
            )
        }?;
        let memory = Self { start: start.cast(), _not_shared: PhantomData };
        memory.protect(1, Access::None)?;
        memory.protect(0, access)?;
        Ok(memory)
    }

    /// Reads the number at `offset` of the first page; `None` if it does not lie in it.
    pub(crate) fn read_u32(&self, offset: usize) -> Option<u32> {
        self.read(offset)
    }

    /// As [`Memory::read_u32`], for 64 bits.
    pub(crate) fn read_u64(&self, offset: usize) -> Option<u64> {
        self.read(offset)
    }

    /// Writes a number to `offset` of the first page; `None` if it does not fit in there.
    pub(crate) fn write_u32(&self, offset: usize, value: u32) -> Option<()> {
        Self::check::<u32>(offset)?;
        // SAFETY: Checked: inside the first page, aligned. Nobody has a reference to it.
        unsafe { self.start.add(offset).cast::<u32>().write_volatile(value) };
        Some(())
    }

    fn read<T: Copy>(&self, offset: usize) -> Option<T> {
        Self::check::<T>(offset)?;
        // SAFETY: Checked: inside the first page, aligned. Only called for integers, of which all values are valid.
        Some(unsafe { self.start.add(offset).cast::<T>().read_volatile() })
    }

    fn check<T>(offset: usize) -> Option<()> {
        let inside = offset.checked_add(size_of::<T>())? <= PAGE;
        (inside && offset % align_of::<T>() == 0).then_some(())
    }

    fn protect(&self, page: usize, access: Access) -> rustix::io::Result<()> {
        let flags = match access {
            Access::Full => MprotectFlags::READ | MprotectFlags::WRITE,
            Access::ReadOnly => MprotectFlags::READ,
            Access::None => MprotectFlags::empty(),
        };
        // SAFETY: `page` is 0 or 1, so this is one of our own pages, to which nobody has a reference.
        unsafe { mprotect(self.start.add(page * PAGE).cast(), PAGE, flags) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: Exactly what `new` mapped, and nobody has a reference to it. An error would mean a leak, no more.
        let _ = unsafe { munmap(self.start.cast(), PAGE * 2) };
    }
}

impl Place<'_> {
    /// The address.
    pub(super) fn address(self) -> usize {
        match self {
            Self::Null => 0,
            Self::Kernel => 0xffff_8880_0000_1000,
            Self::NonCanonical => 0x8000_0000_0000_0000,
            Self::In(memory, offset) => memory.start.addr().saturating_add(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_where_they_were_written() {
        let memory = Memory::new(Access::Full).unwrap();
        memory.write_u32(PAGE - 8, 7).unwrap();
        memory.write_u32(PAGE - 4, 9).unwrap();
        assert_eq!(memory.read_u32(PAGE - 8), Some(7));
        assert_eq!(memory.read_u64(PAGE - 8), Some(0x9_0000_0007));
        assert!(u32::try_from(Place::In(&memory, 0).address()).is_ok());
    }

    #[test]
    fn nothing_is_read_or_written_outside_the_page() {
        let memory = Memory::new(Access::Full).unwrap();
        assert_eq!(memory.read_u64(PAGE - 4), None);
        assert_eq!(memory.read_u32(PAGE), None);
        assert_eq!(memory.read_u32(2), None);
        assert_eq!(memory.read_u32(usize::MAX), None);
        assert_eq!(memory.write_u32(PAGE, 1), None);
    }
}
