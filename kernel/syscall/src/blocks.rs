// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole sectors to and from disks, by the kernel's own calls. A device's number is that of `/dev/diskN`.

use exo_abi::block::{LENGTH_UNIT, MAX_LENGTH};
use exo_hal::USER_END;

use crate::{
    disk::{self, Disk},
    errno::{Errno, Result},
    io_buf::{IoBuf, IoSource},
};

/// `block_read`.
pub(super) fn read(device: u32, sector: u64, buffer: usize, length: u64) -> Result {
    let (disk, offset) = find(device, sector, buffer, length)?;
    disk.read(offset, &mut IoBuf::user(buffer, length as usize))
}

/// `block_write`.
pub(super) fn write(device: u32, sector: u64, buffer: usize, length: u64) -> Result {
    let (disk, offset) = find(device, sector, buffer, length)?;
    disk.write(offset, &mut IoSource::user(buffer, length as usize))
}

/// The disk and the place of a request: a wrong request is told from a device that is missing.
fn find(device: u32, sector: u64, buffer: usize, length: u64) -> Result<(Disk, u64)> {
    if length > MAX_LENGTH || length % LENGTH_UNIT != 0 {
        return Err(Errno::EINVAL);
    }
    // No sector is smaller than the unit, so the last byte lies at least here; positions are as large as a file's.
    let end = sector.checked_mul(LENGTH_UNIT).and_then(|start| start.checked_add(length));
    if end.is_none_or(|end| end > i64::MAX as u64) {
        return Err(Errno::EINVAL);
    }
    if buffer.checked_add(length as usize).is_none_or(|end| end > USER_END) {
        return Err(Errno::EFAULT);
    }
    let disk = disk::by_number(device)?;
    let size = u64::from(disk.sector_size());
    let offset = sector.checked_mul(size).filter(|_| length % size == 0).ok_or(Errno::EINVAL)?;
    Ok((disk, offset))
}
