// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which CPU runs this thread of the host.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::sync;

thread_local! {
    static CPU: Cell<Option<usize>> = const { Cell::new(None) };
}

static COUNT: AtomicUsize = AtomicUsize::new(1);

/// CPUs that the machine has.
pub fn cpu_count() -> usize {
    COUNT.load(Ordering::SeqCst)
}

/// The CPU that this runs on.
///
/// # Panics
/// If this is no task and no CPU of the machine: what a test calls outside has no CPU.
#[track_caller]
pub fn cpu_index() -> usize {
    CPU.get().expect("this runs outside of the machine")
}

/// Spin locks taken and heap allocations made so far. The host's allocations are not counted.
pub fn counters() -> (u64, u64) {
    (sync::locks(), 0)
}

pub(crate) fn set_cpu_count(count: usize) {
    COUNT.store(count, Ordering::SeqCst);
}

/// This thread runs on CPU `cpu` from now on.
pub(crate) fn set_cpu_index(cpu: usize) {
    CPU.set(Some(cpu));
}
