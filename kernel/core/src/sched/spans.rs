// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long interrupts were off, and how much of its time a task was in user mode: both from one look at the cycle counter on each
//! way in and out. And [`point`], which long system calls pass now and then.
//!
//! The short path of system calls is not looked at: it has no loop that a program makes long.

use core::sync::atomic::{AtomicU64, Ordering};

use exo_hal::{
    cpu::{self, span},
    time, tlb,
    trap::Regs,
};

use super::{schedule, should_reschedule};
use crate::thread::running;

/// Interrupts are let in when they have been off for so long.
const WINDOW_EVERY_NS: u64 = 20_000;
/// [`WINDOW_EVERY_NS`] in cycles.
static WINDOW_EVERY: AtomicU64 = AtomicU64::new(u64::MAX);

/// The longest span of all CPUs in cycles, and what that was: the number of a system call, or [`TRAP`] and a vector.
static LONGEST: AtomicU64 = AtomicU64::new(0);
static LONGEST_IN: AtomicU64 = AtomicU64::new(0);
const TRAP: u64 = 1 << 32;

/// Begins to measure, when all CPUs have started: that itself takes long.
pub fn reset() {
    WINDOW_EVERY.store(WINDOW_EVERY_NS.saturating_mul(time::cycles_khz()) / 1_000_000, Ordering::Relaxed);
    span::begin();
    LONGEST.store(0, Ordering::Relaxed);
    span::reset();
}

/// The longest that interrupts were off on any CPU, in nanoseconds, and in what: a system call, or an exception or interrupt.
pub fn longest() -> (u64, Result<u32, u8>) {
    let what = LONGEST_IN.load(Ordering::Relaxed);
    let what = if what & TRAP == 0 { Ok(what as u32) } else { Err(what as u8) };
    (time::ns_of_cycles(LONGEST.load(Ordering::Relaxed)), what)
}

#[cold]
fn record(off: u64, what: u64) {
    if off > LONGEST.fetch_max(off, Ordering::Relaxed) {
        LONGEST_IN.store(what, Ordering::Relaxed);
    }
}

/// The kernel has been entered from user mode, not by the short path.
#[inline(always)]
pub fn enter() {
    let counter = &running().user_cycles;
    // Nobody else writes it.
    counter.store(counter.load(Ordering::Relaxed) + span::enter(), Ordering::Relaxed);
}

/// The kernel is about to be left for user mode.
#[inline(always)]
pub fn leave(regs: &Regs) {
    if let Some(off) = span::leave() {
        record(off, if regs.is_system_call() { regs.error() } else { TRAP | regs.vector() });
    }
}

/// Lets interrupts in. With no lock held.
pub fn window() {
    tlb::answer();
    if let Some(off) = span::end() {
        record(off, span::call());
    }
    cpu::interrupt_window();
    span::begin();
}

/// Lets interrupts in if they have been off for long. With no lock held.
#[inline]
pub fn let_interrupts_in() {
    if span::so_far() >= WINDOW_EVERY.load(Ordering::Relaxed) {
        window();
    }
}

/// A preemption point of a long system call, to be passed with no spin lock held every few thousand instructions: now and then it
/// lets interrupts and other tasks in. True if the task is to end, so that the call has to stop where it is.
#[inline]
#[must_use]
pub fn point() -> bool {
    span::so_far() >= WINDOW_EVERY.load(Ordering::Relaxed) && let_others_in()
}

#[cold]
fn let_others_in() -> bool {
    window();
    let task = running();
    // A task that is about to sleep looks at its condition: there it does not switch.
    if should_reschedule() && task.state.is_runnable() {
        schedule();
    }
    task.is_killed()
}
