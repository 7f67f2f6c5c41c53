// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long interrupts are off on each CPU, and how long programs run between.

use std::sync::atomic::{AtomicU64, Ordering};

use super::percpu::cpu_index;
use crate::{MAX_CPUS, time};

struct Span {
    off_since: AtomicU64,
    user_since: AtomicU64,
    longest: AtomicU64,
}

static SPANS: [Span; MAX_CPUS] = [const {
    Span { off_since: AtomicU64::new(0), user_since: AtomicU64::new(0), longest: AtomicU64::new(0) }
}; MAX_CPUS];

fn own() -> &'static Span {
    &SPANS[cpu_index()]
}

impl Span {
    fn record(&self, now: u64) -> Option<u64> {
        let off = now.saturating_sub(self.off_since.load(Ordering::Relaxed));
        (off > self.longest.fetch_max(off, Ordering::Relaxed)).then_some(off)
    }
}

/// The kernel has been entered from user mode: the cycles that the program has had since [`leave`].
pub fn enter() -> u64 {
    let now = time::cycles();
    own().off_since.store(now, Ordering::Relaxed);
    now.saturating_sub(own().user_since.load(Ordering::Relaxed))
}

/// The kernel is about to be left for user mode. For how many cycles interrupts were off, if that is a record.
pub fn leave() -> Option<u64> {
    let now = time::cycles();
    own().user_since.store(now, Ordering::Relaxed);
    own().record(now)
}

/// Interrupts have just been on.
pub fn begin() {
    own().off_since.store(time::cycles(), Ordering::Relaxed);
}

/// Interrupts are about to be let in. For how many cycles they were off, if that is a record.
pub fn end() -> Option<u64> {
    own().record(time::cycles())
}

/// For how many cycles interrupts have been off.
pub fn so_far() -> u64 {
    time::cycles().saturating_sub(own().off_since.load(Ordering::Relaxed))
}

/// The number of the system call that the running thread is in: 0, as for one that never was in user mode.
pub fn call() -> u64 {
    0
}

/// Begins anew to look for the longest, on all CPUs.
pub fn reset() {
    for span in &SPANS {
        span.longest.store(0, Ordering::Relaxed);
    }
}
