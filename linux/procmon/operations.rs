// SPDX-License-Identifier: GPL-2.0

//! How often programs have called us.
//!
//! Counting is on the path of every call, so each CPU counts for itself. The counters only ever go
//! up. RESET does not touch them (it could not without losing what other CPUs count meanwhile): it
//! notes the totals, and from then on what was noted is taken off. So no call is ever lost or
//! counted twice, and the totals are exact whenever no call is under way.

use crate::mechanisms::PerCpu;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
};

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Open,
    Read,
    Write,
    Ioctl,
}

/// How many of each.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) opens: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) ioctls: u64,
}

impl Totals {
    /// Returns how many there were of all kinds.
    pub(crate) fn all(&self) -> u64 {
        self.opens
            .wrapping_add(self.reads)
            .wrapping_add(self.writes)
            .wrapping_add(self.ioctls)
    }
}

struct Counters {
    opens: Atomic<u64>,
    reads: Atomic<u64>,
    writes: Atomic<u64>,
    ioctls: Atomic<u64>,
}

/// The counters.
pub(crate) struct Operations {
    counters: PerCpu<Counters>,
    /// What is taken off. Held while adding up, so that the counters, which never fall, cannot be
    /// found below it.
    at_reset: Pin<KBox<Mutex<Totals>>>,
}

impl Operations {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            counters: PerCpu::new(|_| Counters {
                opens: Atomic::new(0),
                reads: Atomic::new(0),
                writes: Atomic::new(0),
                ioctls: Atomic::new(0),
            })?,
            at_reset: KBox::pin_init(new_mutex!(Totals::default()), GFP_KERNEL)?,
        })
    }

    /// Counts one call.
    pub(crate) fn count(&self, operation: Operation) {
        let counters = self.counters.this_cpu();
        let counter = match operation {
            Operation::Open => &counters.opens,
            Operation::Read => &counters.reads,
            Operation::Write => &counters.writes,
            Operation::Ioctl => &counters.ioctls,
        };
        counter.add(1u64, Relaxed);
    }

    /// Returns how many there were since the last reset.
    pub(crate) fn totals(&self) -> Totals {
        let at_reset = self.at_reset.lock();
        let now = self.since_loaded();

        Totals {
            opens: now.opens.wrapping_sub(at_reset.opens),
            reads: now.reads.wrapping_sub(at_reset.reads),
            writes: now.writes.wrapping_sub(at_reset.writes),
            ioctls: now.ioctls.wrapping_sub(at_reset.ioctls),
        }
    }

    /// Starts over at zero.
    pub(crate) fn reset(&self) {
        let mut at_reset = self.at_reset.lock();
        *at_reset = self.since_loaded();
    }

    fn since_loaded(&self) -> Totals {
        let mut totals = Totals::default();
        for counters in self.counters.iter() {
            totals.opens = totals.opens.wrapping_add(counters.opens.load(Relaxed));
            totals.reads = totals.reads.wrapping_add(counters.reads.load(Relaxed));
            totals.writes = totals.writes.wrapping_add(counters.writes.load(Relaxed));
            totals.ioctls = totals.ioctls.wrapping_add(counters.ioctls.load(Relaxed));
        }
        totals
    }
}
