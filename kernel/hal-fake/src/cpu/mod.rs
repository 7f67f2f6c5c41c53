// SPDX-License-Identifier: MIT OR Apache-2.0
//! One CPU: where it takes interrupts.

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
    machine::take_interrupts(percpu::cpu_index());
}

/// Random bits from the CPU: this one has no RDRAND.
pub fn hardware_random() -> Option<u64> {
    None
}
