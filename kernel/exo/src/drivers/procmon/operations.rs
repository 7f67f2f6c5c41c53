// SPDX-License-Identifier: MIT OR Apache-2.0
//! How often programs have called us. Each CPU counts for itself, and the counters only ever go up: RESET notes the totals, and from
//! then on what was noted is taken off. So no call is lost or counted twice.

use core::sync::atomic::{AtomicU64, Ordering};

use exo_hal::{MAX_CPUS, cpu::percpu::cpu_index, sync::SpinLock};

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Open,
    Read,
    Write,
    Ioctl,
}

const KINDS: usize = 4;

/// On cache lines of its own, as what else a CPU has.
#[repr(align(128))]
struct Counters([AtomicU64; KINDS]);

static COUNTERS: [Counters; MAX_CPUS] = [const { Counters([const { AtomicU64::new(0) }; KINDS]) }; MAX_CPUS];

/// What is taken off. Held while adding up, so that the counters, which never fall, cannot be found below it.
static AT_RESET: SpinLock<[u64; KINDS]> = SpinLock::new([0; KINDS]);

/// How many of each.
pub(super) struct Totals {
    pub(super) opens: u64,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) ioctls: u64,
}

impl Totals {
    /// How many of all kinds.
    pub(super) fn all(&self) -> u64 {
        self.opens.wrapping_add(self.reads).wrapping_add(self.writes).wrapping_add(self.ioctls)
    }
}

/// Counts one call.
#[inline]
pub(super) fn count(operation: Operation) {
    COUNTERS[cpu_index()].0[operation as usize].fetch_add(1, Ordering::Relaxed);
}

fn since_boot() -> [u64; KINDS] {
    let mut totals = [0u64; KINDS];
    for counters in &COUNTERS {
        for (total, counter) in totals.iter_mut().zip(&counters.0) {
            *total = total.wrapping_add(counter.load(Ordering::Relaxed));
        }
    }
    totals
}

/// How many there were since the last reset.
pub(super) fn totals() -> Totals {
    let at_reset = AT_RESET.lock();
    let now = since_boot();
    let of = |kind: Operation| now[kind as usize].wrapping_sub(at_reset[kind as usize]);
    Totals {
        opens: of(Operation::Open),
        reads: of(Operation::Read),
        writes: of(Operation::Write),
        ioctls: of(Operation::Ioctl),
    }
}

/// Starts over at zero.
pub(super) fn reset() {
    let mut at_reset = AT_RESET.lock();
    *at_reset = since_boot();
}
