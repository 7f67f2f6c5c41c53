// SPDX-License-Identifier: MIT OR Apache-2.0
//! One CPU: where it takes interrupts.

pub mod fpu;
pub(crate) mod gdt;
pub mod percpu;
pub mod span;

use crate::{machine, sync};

/// Waits for an interrupt with interrupts on, and takes it. Returns with interrupts off.
pub fn wait_for_interrupt() {
    sync::may_be_interrupted();
    machine::wait_for_interrupt(percpu::cpu_index());
}

/// A preemption point inside a long operation: pending interrupts are taken here. Call it with no lock held.
pub fn interrupt_window() {
    sync::may_be_interrupted();
    machine::take_time_for_window();
    machine::take_interrupts(percpu::cpu_index());
}

/// Stops this CPU until an interrupt comes, which is taken.
pub fn pause() {
    wait_for_interrupt();
}

/// CPUID leaf `leaf`: eax, ebx, ecx, edx. This CPU has what every CPU with long mode has, and says its vendor.
pub fn cpuid(leaf: u32, _sub: u32) -> [u32; 4] {
    /// FPU, TSC, MSR, PAE, CX8, APIC, SEP, CMOV, MMX, FXSR, SSE, SSE2.
    const FEATURES: u32 = 0x0780_8b71;
    let word = |bytes: &[u8; 12], at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let vendor = b"ExoFakeCPU00";
    match leaf {
        0 => [1, word(vendor, 0), word(vendor, 8), word(vendor, 4)],
        1 => [0, 0, 0, FEATURES],
        _ => [0; 4],
    }
}

/// The CPU's name as it gives it itself.
pub fn brand() -> [u8; 48] {
    let mut out = [0; 48];
    let name = b"Fake CPU of a host";
    out[..name.len()].copy_from_slice(name);
    out
}

/// Random bits from the CPU: this one has no RDRAND.
pub fn hardware_random() -> Option<u64> {
    None
}
