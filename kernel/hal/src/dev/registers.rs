// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers of a device, in memory or in I/O space.

use core::sync::atomic::{Ordering, compiler_fence};

use x86_64::instructions::port::Port;

#[derive(Clone, Copy, Debug)]
enum Range {
    Memory(*mut u8),
    Ports(u16),
}

/// A device's registers, or a part of them. As on a PCI bus, reads where nobody answers give all ones and writes are lost; so it is
/// for accesses beyond the end, or at an offset that is not a multiple of their size. A clone names the same registers.
///
/// What a driver writes to a register has an effect on the device alone, which reaches memory only if it was made a bus master. Where it
/// then reads and writes is what the driver tells it: see the crate's documentation on what there is without an IOMMU.
#[derive(Clone, Debug)]
pub struct Registers {
    range: Range,
    length: usize,
}

// SAFETY: registers may be used from any CPU; every access is one instruction. In which order is the driver's business.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

macro_rules! accesses {
    ($($read:ident $write:ident $type:ty),*) => { $(
        /// Reads a register. All ones beyond the end or where it is not aligned.
        #[inline]
        pub fn $read(&self, offset: usize) -> $type {
            if !self.fits(offset, size_of::<$type>()) {
                return <$type>::MAX;
            }
            match self.range {
                Range::Memory(base) => {
                    // SAFETY: a mapped register of this size.
                    let value = unsafe { base.add(offset).cast::<$type>().read_volatile() };
                    compiler_fence(Ordering::SeqCst);
                    value
                }
                Range::Ports(first) => ports::$read(first + offset as u16),
            }
        }

        /// Writes a register. Lost beyond the end or where it is not aligned. What was written to memory before is seen by the
        /// device before this.
        #[inline]
        pub fn $write(&self, offset: usize, value: $type) {
            if !self.fits(offset, size_of::<$type>()) {
                return;
            }
            match self.range {
                Range::Memory(base) => {
                    compiler_fence(Ordering::SeqCst);
                    // SAFETY: a mapped register of this size.
                    unsafe { base.add(offset).cast::<$type>().write_volatile(value) };
                    compiler_fence(Ordering::SeqCst);
                }
                Range::Ports(first) => ports::$write(first + offset as u16, value),
            }
        }
    )* };
}

impl Registers {
    /// The `length` bytes of registers that are mapped at `base`.
    ///
    /// # Safety
    /// They are mapped there for ever, uncached, and are no memory that anything else uses.
    pub(crate) unsafe fn mapped(base: *mut u8, length: usize) -> Self {
        Self { range: Range::Memory(base), length }
    }

    /// `count` I/O ports from `first`, which must belong to a device that a driver may have.
    pub(crate) fn ports(first: u16, count: u16) -> Self {
        let count = count.min(u16::MAX - first);
        Self { range: Range::Ports(first), length: count.into() }
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// The `length` bytes from `offset`; none if they are not all there.
    pub fn part(&self, offset: usize, length: usize) -> Option<Self> {
        let end = offset.checked_add(length)?;
        if length == 0 || end > self.length {
            return None;
        }
        let range = match self.range {
            // SAFETY: inside the mapping.
            Range::Memory(base) => Range::Memory(unsafe { base.add(offset) }),
            Range::Ports(first) => Range::Ports(first + offset as u16),
        };
        Some(Self { range, length })
    }

    #[inline]
    fn fits(&self, offset: usize, size: usize) -> bool {
        let aligned = match self.range {
            Range::Memory(base) => (base as usize).wrapping_add(offset) % size == 0,
            Range::Ports(first) => (usize::from(first)).wrapping_add(offset) % size == 0,
        };
        aligned && offset.checked_add(size).is_some_and(|end| end <= self.length)
    }

    accesses!(read8 write8 u8, read16 write16 u16, read32 write32 u32, read64 write64 u64);
}

/// Port accesses by size. Eight bytes are two accesses, as on a 32-bit bus.
mod ports {
    use super::Port;

    macro_rules! port {
        ($($read:ident $write:ident $type:ty),*) => { $(
            pub(super) fn $read(port: u16) -> $type {
                // SAFETY: a port of the device that the registers were made for.
                unsafe { Port::<$type>::new(port).read() }
            }

            pub(super) fn $write(port: u16, value: $type) {
                // SAFETY: as above; the device reaches memory only if it was made a bus master.
                unsafe { Port::<$type>::new(port).write(value) }
            }
        )* };
    }

    port!(read8 write8 u8, read16 write16 u16, read32 write32 u32);

    pub(super) fn read64(port: u16) -> u64 {
        u64::from(read32(port)) | (u64::from(read32(port + 4)) << 32)
    }

    pub(super) fn write64(port: u16, value: u64) {
        write32(port, value as u32);
        write32(port + 4, (value >> 32) as u32);
    }
}
