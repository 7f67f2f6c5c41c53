// SPDX-License-Identifier: MIT OR Apache-2.0
//! Segments and the task-state segment, one set for each CPU (in its [area](super::percpu)).

use core::arch::asm;

use x86_64::{
    PrivilegeLevel, VirtAddr,
    instructions::{
        segmentation::{CS, DS, ES, SS, Segment},
        tables::load_tss,
    },
    structures::{
        DescriptorTablePointer,
        gdt::{Descriptor, DescriptorFlags, SegmentSelector},
        tss::TaskStateSegment,
    },
};

/// Selector of the kernel's code segment.
pub(crate) const KERNEL_CODE: u16 = 0x08;
/// What SYSRET adds 8 (data) and 16 (64-bit code) to. Its own descriptor is null: no program reaches compatibility mode.
pub(crate) const SYSRET_BASE: u16 = 0x1b;
/// Selector of the user's data segment.
pub(crate) const USER_DATA: u16 = 0x23;
/// Selector of the user's 64-bit code segment.
pub(crate) const USER_CODE: u16 = 0x2b;
const TSS: u16 = 0x30;

/// Interrupt stacks, as the interrupt table counts them (from 0 here).
pub(crate) mod ist {
    /// Double faults: the kernel's stack is unusable.
    pub(crate) const DOUBLE_FAULT: usize = 0;
    /// Non-maskable interrupts: they come even between `syscall` and the stack switch.
    pub(crate) const NMI: usize = 1;
    /// Machine checks, for the same reason.
    pub(crate) const MACHINE_CHECK: usize = 2;
    /// Debug exceptions: a MOV SS before `syscall` delays one to the kernel's first instruction.
    pub(crate) const DEBUG: usize = 3;
}

/// A CPU's tables.
pub(crate) struct Tables {
    gdt: [u64; 8],
    pub(crate) tss: TaskStateSegment,
}

impl Tables {
    pub(crate) const fn new() -> Self {
        Self { gdt: [0; 8], tss: TaskStateSegment::new() }
    }

    /// Fills and loads the tables of the CPU that this runs on.
    ///
    /// # Safety
    /// They stay where they are as long as the CPU runs.
    pub(crate) unsafe fn load(&mut self) {
        self.gdt[1] = DescriptorFlags::KERNEL_CODE64.bits();
        self.gdt[2] = DescriptorFlags::KERNEL_DATA.bits();
        // SYSRET's base, where a 32-bit code segment would be: it loads fixed attributes and reads no descriptor.
        self.gdt[3] = 0;
        self.gdt[4] = DescriptorFlags::USER_DATA.bits();
        self.gdt[5] = DescriptorFlags::USER_CODE64.bits();
        // SAFETY: the caller vouches that the TSS lives as long as the CPU.
        if let Descriptor::SystemSegment(low, high) = unsafe { Descriptor::tss_segment_unchecked(&self.tss) }
        {
            self.gdt[6] = low;
            self.gdt[7] = high;
        }
        let pointer = DescriptorTablePointer {
            limit: (size_of_val(&self.gdt) - 1) as u16,
            base: VirtAddr::new(self.gdt.as_ptr() as u64),
        };
        // SAFETY: the table was just filled; each selector below names an entry of the right kind.
        unsafe {
            x86_64::instructions::tables::lgdt(&pointer);
            CS::set_reg(SegmentSelector(KERNEL_CODE));
            let null = SegmentSelector::new(0, PrivilegeLevel::Ring0);
            SS::set_reg(null);
            DS::set_reg(null);
            ES::set_reg(null);
            load_tss(SegmentSelector(TSS));
            // After a reset the local table is 64 KiB at address 0 (Intel SDM volume 3, table 11-1); a null selector leaves none.
            asm!("lldt {0:x}", in(reg) 0u16, options(nostack, preserves_flags));
        }
    }
}
