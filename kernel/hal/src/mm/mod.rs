// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: frames, the kernel heap, page tables, kernel stacks, and copies to and from user memory.

pub mod dma;
pub mod frame;
pub mod heap;
pub mod kernel_map;
pub mod paging;
pub mod user;
pub mod user_table;

use crate::{DIRECT_MAP, KERNEL_BASE, PAGE_SIZE, boot::BootInfo};

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

/// Where the direct map shows physical address `physical`.
#[inline]
pub(crate) fn direct(physical: u64) -> *mut u8 {
    (DIRECT_MAP + physical) as *mut u8
}

/// Takes over the memory: frame allocator, then page tables of our own, then the heap.
pub(crate) fn init(boot: &BootInfo) {
    let kernel_end = (&raw const __data_end as u64) - KERNEL_BASE;
    frame::init(boot, kernel_end.next_multiple_of(PAGE_SIZE as u64));
    paging::init(boot);
    frame::add_high_memory(boot);
    crate::cpu::gdt::allocate_interrupt_stacks();
}
