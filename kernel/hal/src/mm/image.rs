// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's image in memory, as the linker script has laid it out.

use crate::KERNEL_BASE;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
}

/// A part of the kernel's image, as virtual addresses.
pub(crate) struct Section {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) writable: bool,
    pub(crate) executable: bool,
}

pub(crate) fn sections() -> [Section; 3] {
    let section = |start: *const u8, end: *const u8, writable, executable| Section {
        start: start as u64,
        end: end as u64,
        writable,
        executable,
    };
    [
        section(&raw const __text_start, &raw const __text_end, false, true),
        section(&raw const __rodata_start, &raw const __rodata_end, false, false),
        section(&raw const __data_start, &raw const __data_end, true, false),
    ]
}

/// Physical address of the first byte behind the image.
pub(crate) fn end() -> u64 {
    &raw const __data_end as u64 - KERNEL_BASE
}
