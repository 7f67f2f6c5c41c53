// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each CPU's timer, and interrupts from one CPU to another.

use crate::{cpu::percpu::cpu_index, machine};

/// Has this CPU interrupted in `ns` nanoseconds, instead of when it was to be before.
pub fn set_timer(ns: u64) {
    machine::set_timer(cpu_index(), ns);
}

/// Interrupts CPU `cpu`, so that it looks whether it is to switch.
pub fn reschedule(cpu: usize) {
    machine::reschedule(cpu);
}
