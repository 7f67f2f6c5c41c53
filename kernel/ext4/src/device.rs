// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the crate needs of a disk.

use crate::error::Result;

/// A disk, or a part of one. Offsets and lengths are in bytes, multiples of 1024. It may have a volatile write cache: what was written is
/// certain to be there after a crash only when a later `flush` has returned, and until then any part of it, in any order, may be.
pub trait BlockDevice {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Whether it can be written to.
    fn is_read_only(&self) -> bool;

    /// Fills `to` with what is at `offset`.
    fn read(&mut self, offset: u64, to: &mut [u8]) -> Result<()>;

    /// Writes `from` at `offset`.
    fn write(&mut self, offset: u64, from: &[u8]) -> Result<()>;

    /// Makes all that was written before durable.
    fn flush(&mut self) -> Result<()>;
}

impl<D: BlockDevice + ?Sized> BlockDevice for &mut D {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }

    fn read(&mut self, offset: u64, to: &mut [u8]) -> Result<()> {
        (**self).read(offset, to)
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<()> {
        (**self).write(offset, from)
    }

    fn flush(&mut self) -> Result<()> {
        (**self).flush()
    }
}
