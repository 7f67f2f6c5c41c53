// SPDX-License-Identifier: MIT OR Apache-2.0
//! One CPU: its features, control registers, segment and interrupt tables.

pub mod fpu;
pub mod gdt;
pub mod percpu;
pub mod span;

use core::{
    arch::{asm, x86_64::__cpuid_count},
    sync::atomic::{AtomicBool, Ordering},
};

use x86_64::{
    VirtAddr,
    instructions::{hlt, interrupts},
    registers::{
        control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags},
        model_specific::{LStar, Msr, SFMask, Star},
        rflags::RFlags,
    },
};

use crate::{trap, trap::syscall_mask};

/// Where SYSCALL enters from compatibility mode.
const CSTAR: u32 = 0xc000_0083;
/// Code segment, stack pointer and address of SYSENTER, which is not used.
const SYSENTER: [u32; 3] = [0x174, 0x175, 0x176];

static SMAP: AtomicBool = AtomicBool::new(false);

/// CPUID leaf `leaf`, sub-leaf `sub`: eax, ebx, ecx, edx.
pub fn cpuid(leaf: u32, sub: u32) -> [u32; 4] {
    // SAFETY: CPUID exists on every CPU with long mode and has no side effect.
    let r = unsafe { __cpuid_count(leaf, sub) };
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// The CPU's name as it gives it itself.
pub fn brand() -> [u8; 48] {
    let mut out = [0; 48];
    if cpuid(0x8000_0000, 0)[0] >= 0x8000_0004 {
        for (leaf, chunk) in (0x8000_0002..).zip(out.chunks_exact_mut(16)) {
            for (word, bytes) in cpuid(leaf, 0).iter().zip(chunk.chunks_exact_mut(4)) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
    }
    out
}

/// Whether SMAP is on, so that copies to and from user memory must open it.
#[inline]
pub fn has_smap() -> bool {
    SMAP.load(Ordering::Relaxed)
}

pub(crate) fn init_boot_cpu() {
    let mut out = crate::log::Console;
    let extended = cpuid(0x8000_0001, 0);
    if extended[3] & (1 << 20) == 0 {
        // A console that fails has no one to tell.
        let _ = core::fmt::Write::write_str(&mut out, "Exo-Kernel needs a CPU with NX\n");
        crate::power::power_off(crate::power::Exit::Panic);
    }
    percpu::init_boot_cpu();
    init();
}

/// Brings this CPU to the state that the kernel expects; its per-CPU area is in place.
pub(crate) fn init() {
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
        SMAP.store(true, Ordering::Relaxed);
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
    gdt::load();
    trap::load_idt();
    // SAFETY: the selectors are those of the table just loaded, in the order that SYSRET expects.
    unsafe { Star::write_raw(gdt::SYSRET_BASE, gdt::KERNEL_CODE) };
    LStar::write(VirtAddr::new(trap::syscall_entry_address()));
    // SAFETY: CSTAR is where SYSCALL goes from compatibility mode on AMD's CPUs. Without a code segment SYSENTER raises #GP.
    unsafe {
        Msr::new(CSTAR).write(trap::compatibility_entry_address());
        for register in SYSENTER {
            Msr::new(register).write(0);
        }
    }
    SFMask::write(RFlags::from_bits_truncate(syscall_mask::ALL));
    fpu::init();
}

/// Sets the base of the user's FS segment, where programs keep thread-local storage.
#[inline]
pub(crate) fn set_fs_base(base: u64) {
    // SAFETY: the base of a user segment; the kernel does not use FS. Callers pass canonical user addresses only.
    unsafe { Msr::new(0xc000_0100).write(base) };
}

/// Sets the base that GS will have in user mode (the other half of SWAPGS).
#[inline]
pub(crate) fn set_user_gs_base(base: u64) {
    // SAFETY: as above; the kernel's own GS base is the other register while in the kernel.
    unsafe { Msr::new(0xc000_0102).write(base) };
}

/// Waits for an interrupt with interrupts on. Returns with interrupts off.
pub fn wait_for_interrupt() {
    interrupts::enable_and_hlt();
    interrupts::disable();
}

/// A preemption point inside a long operation: pending interrupts are taken here. Call it with no lock held.
pub fn interrupt_window() {
    interrupts::enable();
    // The interrupt shadow of STI covers one instruction.
    x86_64::instructions::nop();
    interrupts::disable();
}

/// Stops this CPU until `hlt` ends, with interrupts as they are.
pub fn pause() {
    hlt();
}

/// 64 random bits from the CPU, if it has RDRAND and it works.
pub fn hardware_random() -> Option<u64> {
    if cpuid(1, 0)[2] & (1 << 30) == 0 {
        return None;
    }
    for _ in 0..10 {
        let (value, ok): (u64, u8);
        // SAFETY: the CPU has RDRAND (bit above).
        unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack)) };
        if ok != 0 {
            return Some(value);
        }
    }
    None
}

/// The caller's frame pointer.
#[inline(always)]
pub(crate) fn frame_pointer() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Closes user memory to the kernel again after an interrupt or exception: AC may have been set, and the entry does not clear it.
#[inline]
pub(crate) fn close_user_memory() {
    if has_smap() {
        // SAFETY: the CPU has SMAP, hence CLAC.
        unsafe { asm!("clac", options(nomem, nostack)) };
    }
}
