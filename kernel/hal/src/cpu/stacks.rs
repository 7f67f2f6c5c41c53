// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stacks on which this CPU enters the kernel, as its task-state segment names them.

use alloc::vec;

use x86_64::VirtAddr;

use super::{gdt::ist, percpu};

/// Bytes of an interrupt stack.
const IST_SIZE: usize = 8192;

/// Gives this CPU its interrupt stacks; needs the heap.
pub(crate) fn allocate_interrupt_stacks() {
    for index in [ist::DOUBLE_FAULT, ist::NMI, ist::MACHINE_CHECK, ist::DEBUG] {
        let stack = vec![0u128; IST_SIZE / 16].leak();
        // SAFETY: this CPU's own table; the CPU reads the entry at the next such exception.
        unsafe {
            (*(*percpu::area()).tables.get()).tss.interrupt_stack_table[index] =
                VirtAddr::from_ptr(stack.as_ptr_range().end);
        }
    }
}

/// The idle thread runs, which never comes from user mode: the stack of the last thread that did may be gone soon.
#[cold]
pub(crate) fn forget_kernel_stack() {
    set_kernel_stack(0);
}

/// Sets the stack for entries from user mode.
#[inline]
pub(crate) fn set_kernel_stack(end: u64) {
    // SAFETY: this CPU's own area; the CPU reads the field at the next entry from user mode.
    unsafe {
        let area = percpu::area();
        (*area).stack_end = end;
        (&raw mut (*(*area).tables.get()).tss.privilege_stack_table[0])
            .write_unaligned(VirtAddr::new_truncate(end));
    }
}
