// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole sectors to and from block devices, by the kernel's own calls. The kernel has no driver for such a device yet, so
//! every request that is right names a device which does not exist.

use exo_abi::block::{LENGTH_UNIT, MAX_LENGTH};
use exo_hal::USER_END;

use crate::errno::{Errno, Result};

/// `block_read` and `block_write`: a wrong request is told from a device that is missing.
pub(super) fn transfer(_device: u32, sector: u64, buffer: usize, length: u64) -> Result {
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
    Err(Errno::ENODEV)
}
