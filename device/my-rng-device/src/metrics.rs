// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device counts, readable from other threads. Counts begin when the program starts; neither a reset nor a new
//! client clears them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows. 64 bits last for centuries at any rate that a guest can reach.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    (
        $(#[$counters_doc:meta])+ $counters:ident,
        $(#[$snapshot_doc:meta])+ $snapshot:ident,
        $($(#[doc = $doc:literal])+ $name:ident,)+
    ) => {
        $(#[$counters_doc])+
        #[derive(Debug, Default)]
        pub struct $counters {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        $(#[$snapshot_doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $snapshot {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl $counters {
            /// Reads all counts, one after the other: not at one instant.
            pub fn snapshot(&self) -> $snapshot {
                $snapshot { $($name: self.$name.get(),)+ }
            }
        }

        impl $snapshot {
            /// Every count with its name and what it means.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + use<> {
                [$((stringify!($name), concat!($($doc,)+).trim_ascii(), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// What one device counts.
    Counters,
    /// The [`Counters`] at one moment.
    CountersSnapshot,

    /// 32-bit numbers drawn by register.
    draws32,
    /// 64-bit numbers drawn by register.
    draws64,
    /// Times that the guest restarted the seedable stream.
    seeds,
    /// Times that the guest sought a position in the seedable stream.
    seeks,
    /// Seeds, stream numbers and positions that the generator does not take.
    seed_mistakes,
    /// Times that the guest chose a generator.
    generator_choices,
    /// Generators asked for that do not exist.
    unknown_generators,
    /// Reads where no register is.
    unknown_reads,
    /// Writes where no register is.
    unknown_writes,
    /// Writes to registers that can only be read.
    read_only_writes,
    /// Accesses to part of a register that is only accessed as a whole.
    partial_accesses,
    /// Accesses of an odd width, or not aligned to their width.
    misaligned_accesses,
    /// Queues started.
    queue_starts,
    /// Queues stopped by the guest.
    queue_stops,
    /// Mistakes in the set-up of queues.
    queue_mistakes,
    /// Queues stopped by an error.
    queue_errors,
    /// Doorbells rung.
    doorbells,
    /// Doorbells among them that were rung for nothing, while there were limits.
    doorbells_in_vain,
    /// Times that a queue went to sleep.
    sleeps,
    /// Times that a queue waited for a limit.
    throttles,
    /// Bytes of the entropy stream given to guest memory.
    entropy_bytes,
    /// Bytes of the seedable stream given to guest memory.
    seedable_bytes,
    /// Buffers completed.
    buffers,
    /// One-shot transfers done.
    one_shots,
    /// One-shot transfers refused or failed.
    one_shot_errors,
    /// Interrupts sent.
    interrupts,
    /// Interrupts that nobody has assigned.
    interrupts_unassigned,
    /// Times that the entropy stream took a key from the host.
    rekeys,
    /// Times that the host gave no key.
    rekey_failures,
    /// Resets.
    resets,
}

counters! {
    /// What one queue counts.
    QueueCounters,
    /// The [`QueueCounters`] at one moment.
    QueueCountersSnapshot,

    /// Bytes given to guest memory.
    bytes,
    /// Buffers completed.
    buffers,
    /// Interrupts sent.
    interrupts,
    /// Times that the queue was stopped by an error.
    errors,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_names_every_count_once() {
        let counters = Counters::default();
        counters.doorbells.add(3);
        counters.resets.add_one();
        let counted: Vec<_> = counters.snapshot().each().filter(|(_, _, count)| *count != 0).collect();
        assert_eq!(counted, [("doorbells", "Doorbells rung.", 3), ("resets", "Resets.", 1)]);
    }
}
