// SPDX-License-Identifier: GPL-2.0

//! What a device has counted.

use super::Device;

/// What an administrator may want to know.
pub(crate) struct Statistics {
    pub(crate) entropy_queues: usize,
    pub(crate) mapped_queues: (usize, usize),
    pub(crate) vectors: usize,
    pub(crate) depth: u32,
    pub(crate) bytes: u64,
    pub(crate) seedable_bytes: u64,
    pub(crate) interrupts: u64,
    pub(crate) doorbells: u64,
    pub(crate) waits: u64,
    pub(crate) errors: u64,
}

impl Device<'_> {
    /// What was counted since the device was bound; `None` if it has no queues.
    pub(crate) fn statistics(&self) -> Option<Statistics> {
        let queues = self.queues.as_ref()?;
        let mut statistics = Statistics {
            entropy_queues: queues.entropy.count(),
            mapped_queues: queues.mappings.count(),
            vectors: queues.vectors.count(),
            depth: queues.entropy.depth(),
            bytes: 0,
            seedable_bytes: queues.seedable.bytes(),
            interrupts: queues.vectors.interrupts(),
            doorbells: queues.mappings.doorbells(),
            waits: 0,
            errors: 0,
        };
        for counters in Iterator::chain(queues.entropy.counters(), [queues.seedable.counters()]) {
            statistics.bytes = statistics.bytes.wrapping_add(counters.bytes.sum());
            statistics.doorbells = statistics.doorbells.wrapping_add(counters.doorbells.sum());
            statistics.waits = statistics.waits.wrapping_add(counters.waits.sum());
            statistics.errors = statistics.errors.wrapping_add(counters.errors.sum());
        }
        Some(statistics)
    }
}
