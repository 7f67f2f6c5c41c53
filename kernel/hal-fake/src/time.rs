// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time: a clock that moves when all CPUs wait, or when a test says so, and the wall clock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{cpu::percpu, machine};

/// Wall clock minus [`now_ns`], in nanoseconds.
static WALL_OFFSET: AtomicU64 = AtomicU64::new(0);

/// The cycle counter, which counts nanoseconds.
pub fn cycles() -> u64 {
    now_ns()
}

/// Nanoseconds since boot.
pub fn now_ns() -> u64 {
    machine::now_ns()
}

/// So many cycles in nanoseconds.
pub fn ns_of_cycles(cycles: u64) -> u64 {
    cycles
}

/// The cycle counter's rate in kHz.
pub fn cycles_khz() -> u64 {
    1_000_000
}

/// Nanoseconds since 1970 (UTC).
pub fn wall_ns() -> u64 {
    now_ns().wrapping_add(WALL_OFFSET.load(Ordering::Relaxed))
}

/// Sets the wall clock to `ns` nanoseconds since 1970.
pub fn set_wall_ns(ns: u64) {
    WALL_OFFSET.store(ns.wrapping_sub(now_ns()), Ordering::Relaxed);
}

/// For tests: the kernel works for `ns` nanoseconds, with interrupts off.
pub fn advance(ns: u64) {
    machine::advance(ns);
}

/// For tests: an interrupt window takes so long on this machine, so that time passes for who polls; nothing, if no test says so.
pub fn set_window(ns: u64) {
    machine::set_window(ns);
}

/// For tests: the running program computes for `ns` nanoseconds, or less if an interrupt comes, which is to be taken then. What is left.
pub fn compute(ns: u64) -> u64 {
    machine::compute(percpu::cpu_index(), ns)
}
