// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bringing a CPU to the state that the kernel expects: control registers, segment and interrupt tables, the entries of system calls.

use x86_64::{
    VirtAddr,
    registers::{
        control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags},
        model_specific::{LStar, Msr, SFMask, Star},
        rflags::RFlags,
    },
};

use super::{cpuid, fpu, gdt, note_smap, percpu};
use crate::{
    log, power,
    trap::entries::{self, syscall_mask},
};

/// Where SYSCALL enters from compatibility mode.
const CSTAR: u32 = 0xc000_0083;
/// Code segment, stack pointer and address of SYSENTER, which is not used.
const SYSENTER: [u32; 3] = [0x174, 0x175, 0x176];

/// The boot CPU.
pub(crate) fn boot_cpu() {
    let mut out = log::Console;
    let extended = cpuid(0x8000_0001, 0);
    if extended[3] & (1 << 20) == 0 {
        // A console that fails has no one to tell.
        let _ = core::fmt::Write::write_str(&mut out, "Exo-Kernel needs a CPU with NX\n");
        power::power_off(power::Exit::Panic);
    }
    percpu::init_boot_cpu();
    this_cpu();
}

/// Brings this CPU to the state that the kernel expects; its per-CPU area is in place.
pub(crate) fn this_cpu() {
    let mut features = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION
        | Cr4Flags::PAGE_GLOBAL
        | Cr4Flags::OSFXSR
        | Cr4Flags::OSXMMEXCPT_ENABLE;
    let structured = cpuid(7, 0);
    if structured[1] & (1 << 7) != 0 {
        features |= Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION;
    }
    if structured[1] & (1 << 20) != 0 {
        features |= Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION;
        note_smap();
    }
    if structured[2] & (1 << 2) != 0 {
        features |= Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION;
    }
    if cpuid(1, 0)[2] & (1 << 26) != 0 {
        features |= Cr4Flags::OSXSAVE;
    }
    // SAFETY: each bit is one that the CPU has (CPUID above) or that every x86-64 CPU has; none changes how the kernel's
    // own memory is mapped.
    unsafe {
        Cr4::write(features);
        Cr0::write(
            Cr0Flags::PAGING
                | Cr0Flags::WRITE_PROTECT
                | Cr0Flags::NUMERIC_ERROR
                | Cr0Flags::EXTENSION_TYPE
                | Cr0Flags::MONITOR_COPROCESSOR
                | Cr0Flags::PROTECTED_MODE_ENABLE,
        );
        Efer::write(
            EferFlags::SYSTEM_CALL_EXTENSIONS
                | EferFlags::LONG_MODE_ENABLE
                | EferFlags::LONG_MODE_ACTIVE
                | EferFlags::NO_EXECUTE_ENABLE,
        );
    }
    // SAFETY: this CPU's own area, in place for ever; nothing else refers to the tables yet.
    unsafe {
        let tables = &mut *(*percpu::area()).tables.get();
        tables.load();
    }
    entries::load_idt();
    // SAFETY: the selectors are those of the table just loaded, in the order that SYSRET expects.
    unsafe { Star::write_raw(gdt::SYSRET_BASE, gdt::KERNEL_CODE) };
    LStar::write(VirtAddr::new(entries::syscall_address()));
    // SAFETY: CSTAR is where SYSCALL goes from compatibility mode on AMD's CPUs. Without a code segment SYSENTER raises #GP.
    unsafe {
        Msr::new(CSTAR).write(entries::compatibility_address());
        for register in SYSENTER {
            Msr::new(register).write(0);
        }
    }
    SFMask::write(RFlags::from_bits_truncate(syscall_mask::ALL));
    fpu::init();
}
