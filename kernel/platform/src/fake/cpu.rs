// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs and time. Each test thread has its own: a test may say which CPU it is and what time it is.

use std::{
    cell::Cell,
    sync::OnceLock,
    sync::atomic::{Ordering, fence},
    time::Instant,
};

/// CPUs of the fake machine, two for each of its two nodes.
const CPUS: usize = 4;
const CPUS_PER_NODE: usize = 2;

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static CLOCK: Cell<Option<u64>> = const { Cell::new(None) };
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Nanoseconds since boot: of the fake clock if this thread has set one, else of the host's.
pub fn now_ns() -> u64 {
    CLOCK.get().unwrap_or_else(|| u64::try_from(start().elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// From now on the clock shows `ns` for this thread and stands still.
pub fn set_clock(ns: u64) {
    CLOCK.set(Some(ns));
}

/// Moves this thread's clock on; a clock that was not set starts from where it is.
pub fn advance(ns: u64) {
    CLOCK.set(Some(now_ns().saturating_add(ns)));
}

/// Waits `ns` nanoseconds; with a fake clock, no time passes but on it.
pub fn spin_for_ns(ns: u64) {
    if CLOCK.get().is_some() {
        advance(ns);
        return;
    }
    let end = now_ns().saturating_add(ns);
    while now_ns() < end {
        std::hint::spin_loop();
    }
}

/// The CPU that this thread plays.
pub fn cpu_index() -> usize {
    CPU.get()
}

/// Makes this thread play CPU `cpu`.
///
/// # Panics
/// If the fake machine does not have it.
pub fn set_cpu(cpu: usize) {
    assert!(cpu < CPUS, "the fake machine has {CPUS} CPUs, not a number {cpu}");
    CPU.set(cpu);
}

/// CPUs of the machine.
pub fn cpu_count() -> usize {
    CPUS
}

/// The NUMA node of a CPU; 0 for one that does not exist.
pub fn node_of_cpu(cpu: usize) -> u32 {
    if cpu < CPUS { (cpu / CPUS_PER_NODE) as u32 } else { 0 }
}

/// Everything written before is seen by devices and other CPUs before anything that is read after.
pub fn memory_barrier() {
    fence(Ordering::SeqCst);
}
