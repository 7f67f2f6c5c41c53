// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a worker is at work, and getting on with it: for the watchdog, at the cost of a store a round.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that is even while the worker sleeps, and odd and rising while it works.
#[derive(Debug, Default)]
pub struct Activity(AtomicU64);

impl Activity {
    /// The worker is about to sleep.
    pub(crate) fn rest(&self) {
        self.step(1);
    }

    /// The worker is awake.
    pub(crate) fn wake(&self) {
        self.step(1);
    }

    /// The worker gets on.
    pub(crate) fn beat(&self) {
        self.step(2);
    }

    /// Only the worker writes.
    fn step(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Release);
    }

    /// Something that changes as long as the worker gets on. `None`: it sleeps.
    pub fn seen(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|beats| beats % 2 == 1)
    }
}
