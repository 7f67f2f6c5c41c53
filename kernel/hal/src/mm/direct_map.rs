// SPDX-License-Identifier: MIT OR Apache-2.0
//! The direct map: all physical memory, at one place of the kernel's half.

use crate::DIRECT_MAP;

/// Where the direct map shows physical address `physical`.
#[inline]
pub(crate) fn direct(physical: u64) -> *mut u8 {
    (DIRECT_MAP + physical) as *mut u8
}
