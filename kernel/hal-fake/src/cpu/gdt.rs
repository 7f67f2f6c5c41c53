// SPDX-License-Identifier: MIT OR Apache-2.0
//! The selectors of a program's segments, as on the real machine.

/// Selector of the user's data segment.
pub(crate) const USER_DATA: u16 = 0x23;
/// Selector of the user's 64-bit code segment.
pub(crate) const USER_CODE: u16 = 0x2b;
