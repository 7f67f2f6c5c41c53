// SPDX-License-Identifier: MIT OR Apache-2.0
//! One CPU: its features and the instructions that Rust has no words for. What it is set up with is in the modules below.

pub mod fpu;
pub(crate) mod gdt;
pub(crate) mod init;
pub mod percpu;
pub mod span;
pub(crate) mod stacks;

use core::{
    arch::{asm, x86_64::__cpuid_count},
    sync::atomic::{AtomicBool, Ordering},
};

use x86_64::{
    instructions::{hlt, interrupts},
    registers::model_specific::Msr,
};

use crate::sync;

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

/// This CPU, and so every other, has SMAP on.
fn note_smap() {
    SMAP.store(true, Ordering::Relaxed);
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
    sync::may_be_interrupted();
    interrupts::enable_and_hlt();
    interrupts::disable();
}

/// A preemption point inside a long operation: pending interrupts are taken here. Call it with no lock held.
pub fn interrupt_window() {
    sync::may_be_interrupted();
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
