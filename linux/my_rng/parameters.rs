// SPDX-License-Identifier: GPL-2.0

//! What can be said when the module is loaded: `insmod my_rng.ko depth=512 queues=2`.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `depth` | 256 | buffers of a queue: a power of two, 2 to 1024 |
//! | `buffer_size` | 4096 | bytes of a buffer: a power of two, 64 to 4096 |
//! | `queues` | 0 | queues for `read(2)`: 1 to 64, or 0 for one a CPU |
//! | `mapped_queues` | 4 | queues for `mmap(2)`: 0 to 64 |
//! | `mapped_interrupts` | 50 | interrupts a millisecond that a mapped queue may send: 1 to 1000 |
//! | `use_queues` | 1 | 0: registers only, as for a device without queues |
//!
//! Each is checked; a module with a parameter out of range is not loaded (`EINVAL`), and the log
//! says which. A device that has fewer queues than asked for gives what it has.

use crate::{
    abi::{
        queue::DEPTH_MAX,
        ring::Layout, //
    },
    dma_memory::BUFFER_SIZE_MAX,
    module_parameter, //
};
use kernel::{
    cpu,
    prelude::*, //
};

/// Smaller buffers cost more than they carry.
const BUFFER_SIZE_MIN: u32 = 64;
/// With one buffer, device and reader would take turns.
const DEPTH_MIN: u32 = 2;
/// Nobody has a use for more.
const QUEUES_MAX: u32 = 64;
/// What is fetched of the seedable stream before anybody asks is lost at the next SEED. With fewer,
/// a program that draws numbers rings the doorbell, which costs as much as some fifty draws, more
/// often.
const SEEDABLE_DEPTH_MAX: u32 = 64;

module_parameter! {
    static DEPTH = 256;
    name: "depth",
    permissions: 0o444,
    description: "buffers of a queue",
    expected: "a power of two, 2 to 1024",
    is_valid: |depth| depth.is_power_of_two() && (DEPTH_MIN..=DEPTH_MAX).contains(&depth),
}

module_parameter! {
    static BUFFER_SIZE = 4096;
    name: "buffer_size",
    permissions: 0o444,
    description: "bytes of a buffer",
    expected: "a power of two, 64 to 4096",
    is_valid: |size| size.is_power_of_two() && (BUFFER_SIZE_MIN..=BUFFER_SIZE_MAX).contains(&size),
}

module_parameter! {
    static QUEUES = 0;
    name: "queues",
    permissions: 0o444,
    description: "queues for read",
    expected: "1 to 64, or 0 for one a CPU",
    is_valid: |queues| queues <= QUEUES_MAX,
}

module_parameter! {
    static MAPPED_QUEUES = 4;
    name: "mapped_queues",
    permissions: 0o444,
    description: "queues for mmap",
    expected: "0 to 64",
    is_valid: |queues| queues <= QUEUES_MAX,
}

module_parameter! {
    /// When the device interrupts for a mapped queue, its program says; this says how often.
    static MAPPED_INTERRUPTS = 50;
    name: "mapped_interrupts",
    permissions: 0o444,
    description: "interrupts a millisecond that a mapped queue may send",
    expected: "1 to 1000",
    is_valid: |interrupts| (1..=1000).contains(&interrupts),
}

module_parameter! {
    static USE_QUEUES = 1;
    name: "use_queues",
    permissions: 0o444,
    description: "whether queues are used, or registers only",
    expected: "0 or 1",
    is_valid: |use_queues| use_queues <= 1,
}

/// The parameters, as they were set when the module was loaded.
pub(crate) struct Parameters {
    /// Of the queues of the entropy stream.
    pub(crate) layout: Layout,
    /// Of the queue of the seedable stream.
    pub(crate) seedable_layout: Layout,
    /// Whether queues are used at all.
    pub(crate) use_queues: bool,
    /// How many interrupts a mapped queue may send in a millisecond.
    pub(crate) mapped_interrupts: u32,
    queues: u32,
    mapped_queues: u32,
}

/// How the queues of a device are used.
pub(crate) struct QueueAssignment {
    /// How many are for `read(2)`. The one after them is that of the seedable stream.
    pub(crate) entropy: u32,
    mapped: u32,
}

impl QueueAssignment {
    /// What a queue is for, and its number among those.
    pub(crate) fn use_of(&self, queue: u32) -> (&'static str, u32) {
        match queue.checked_sub(self.entropy) {
            None => ("read", queue),
            Some(0) => ("seedable", 0),
            Some(number) => ("mapped", number - 1),
        }
    }

    /// The CPU whose readers use a queue, if each CPU has one of its own.
    pub(crate) fn cpu_of(&self, queue: u32) -> Option<u32> {
        (self.entropy == cpu::nr_cpu_ids() && queue < self.entropy).then_some(queue)
    }

    /// Number of queues in use.
    pub(crate) fn total(&self) -> u32 {
        self.mapped_numbers().end
    }

    /// The numbers of those that can be mapped.
    pub(crate) fn mapped_numbers(&self) -> core::ops::Range<u32> {
        // At most 64 of each.
        let first = self.entropy + 1;
        first..first + self.mapped
    }
}

impl Parameters {
    /// The least with which the queues of a device can be used: one for each stream.
    pub(crate) const MIN_QUEUES: u32 = 2;

    /// Reads the module's parameters.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] for sizes that a queue cannot have.
    pub(crate) fn read() -> Result<Self> {
        let (depth, buffer_size) = (DEPTH.get(), BUFFER_SIZE.get());
        let layout = |depth| Layout::new(depth, buffer_size).ok_or(EINVAL);

        Ok(Self {
            layout: layout(depth)?,
            seedable_layout: layout(depth.min(SEEDABLE_DEPTH_MAX))?,
            use_queues: USE_QUEUES.get() != 0,
            mapped_interrupts: MAPPED_INTERRUPTS.get(),
            queues: QUEUES.get(),
            mapped_queues: MAPPED_QUEUES.get(),
        })
    }

    /// Divides the queues of a device, of which there are `available`.
    pub(crate) fn assign_queues(&self, available: u32) -> Option<QueueAssignment> {
        // One is for the seedable stream.
        let available = available.checked_sub(1)?;
        let wanted = match self.queues {
            0 => cpu::nr_cpu_ids(),
            queues => queues,
        };
        // Reading comes first, but one queue is kept for those who map, if there are enough.
        let spare = available.saturating_sub(1).min(1).min(self.mapped_queues);
        let entropy = wanted.min(available.saturating_sub(spare)).min(QUEUES_MAX);
        let mapped = self.mapped_queues.min(available.saturating_sub(entropy));
        (entropy != 0).then_some(QueueAssignment { entropy, mapped })
    }
}
