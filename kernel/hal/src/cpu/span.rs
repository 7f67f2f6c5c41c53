// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long interrupts are off on each CPU, and how long programs run between: a look at the cycle counter on each way in and out,
//! with nothing but this CPU's own area touched.

use core::sync::atomic::Ordering;

use super::percpu::{self, Span};
use crate::{time, trap::regs::Regs};

impl Span {
    /// How long interrupts have been off, if that is longer than ever before on this CPU.
    #[inline(always)]
    fn record(&self, now: u64) -> Option<u64> {
        let off = now.wrapping_sub(self.off_since.load(Ordering::Relaxed));
        if off <= self.longest.load(Ordering::Relaxed) {
            return None;
        }
        self.longest.store(off, Ordering::Relaxed);
        Some(off)
    }
}

#[inline(always)]
fn own() -> &'static Span {
    // SAFETY: this CPU's area, which stays; the fields are atomic.
    unsafe { &(*percpu::area()).span }
}

/// The kernel has been entered from user mode: the cycles that the program has had since [`leave`].
#[inline(always)]
pub fn enter() -> u64 {
    let (span, now) = (own(), time::cycles());
    span.off_since.store(now, Ordering::Relaxed);
    now.wrapping_sub(span.user_since.load(Ordering::Relaxed))
}

/// The kernel is about to be left for user mode. For how many cycles interrupts were off, if that is a record.
#[inline(always)]
pub fn leave() -> Option<u64> {
    let (span, now) = (own(), time::cycles());
    span.user_since.store(now, Ordering::Relaxed);
    span.record(now)
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
#[inline(always)]
pub fn so_far() -> u64 {
    time::cycles().wrapping_sub(own().off_since.load(Ordering::Relaxed))
}

/// The number of the system call that the running thread is in, or was in last; 0 for a thread that never was in user mode.
pub fn call() -> u64 {
    // SAFETY: this CPU's own area. A running thread's registers lie below the end of its stack, as the entries save them; the idle
    // thread has no such stack, and its end is 0.
    unsafe {
        let end = (*percpu::area()).stack_end as *const Regs;
        if end.is_null() { 0 } else { (*end.sub(1)).error() }
    }
}

/// Begins anew to look for the longest, on all CPUs that have started.
pub fn reset() {
    for cpu in 0..percpu::cpu_count() {
        if let Some(span) = percpu::span_of(cpu) {
            span.longest.store(0, Ordering::Relaxed);
        }
    }
}
