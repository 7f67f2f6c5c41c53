// SPDX-License-Identifier: GPL-2.0

//! The queues of a device, and how they end together.

use crate::{
    bus_master,
    dma_memory::DmaMemory,
    entropy_stream::EntropyStream,
    hardware::{
        Hardware,
        StopDeadline, //
    },
    interrupts::IrqVectors,
    mapped_queue::MappedQueues,
    parameters::Parameters,
    seedable_stream::SeedableStream, //
};
use kernel::{
    device::Bound,
    pci,
    prelude::*,
    sync::Arc, //
};

/// The queues of a device: first those of `entropy`, then that of `seedable`, then those of
/// `mappings`.
///
/// To be ended by [`Queues::stop_and_free`].
pub(super) struct Queues<'bound> {
    pub(super) entropy: EntropyStream,
    /// Shared with the files that are open.
    pub(super) seedable: Arc<SeedableStream>,
    pub(super) mappings: Pin<KBox<MappedQueues>>,
    pub(super) vectors: IrqVectors<'bound>,
    /// The memory of the first two kinds, by the queue's number.
    memory: KVec<(u32, DmaMemory)>,
}

impl<'bound> Queues<'bound> {
    pub(super) fn new(
        pdev: &'bound pci::Device<Bound>,
        available: u32,
        parameters: &Parameters,
        name: &CStr,
    ) -> Result<Self> {
        let plan = parameters.assign_queues(available).ok_or(EINVAL)?;
        let vectors = IrqVectors::new(pdev, &plan, parameters.mapped_interrupts, name)?;
        let mut memory = KVec::new();

        // SAFETY: `memory` goes into `Self`, and `stop_and_free` drops it.
        let entropy = unsafe {
            EntropyStream::new(pdev, plan.entropy, parameters.layout, &vectors, &mut memory)
        }?;
        // SAFETY: As above. The queue after those of the entropy stream is that of the seedable
        // one.
        let seedable = unsafe {
            SeedableStream::new(
                pdev,
                plan.entropy,
                parameters.seedable_layout,
                &vectors,
                &mut memory,
            )
        }?;
        let seedable = Arc::new(seedable, GFP_KERNEL)?;
        // SAFETY: Called by `stop_and_free`.
        let mappings = unsafe { MappedQueues::new(plan.mapped_numbers(), parameters.layout) }?;

        Ok(Self {
            entropy,
            seedable,
            mappings,
            vectors,
            memory,
        })
    }

    /// Asks the device to stop all queues.
    fn request_stop_all(&self, hardware: &Hardware<'_>) {
        self.mappings.request_stop_all(hardware);
        for (number, _) in &self.memory {
            hardware.request_stop(*number);
        }
    }

    /// Stops all queues; their memory stays.
    pub(super) fn stop_all(&self, hardware: &Hardware<'_>) -> Result {
        self.request_stop_all(hardware);
        let deadline = StopDeadline::new();
        self.mappings.wait_all_stopped(hardware, &deadline)?;
        for (number, _) in &self.memory {
            hardware.wait_stopped(*number, &deadline)?;
        }
        Ok(())
    }

    /// Stops all queues and frees their memory, or abandons what the device may still write to.
    pub(super) fn stop_and_free(self, hardware: &Hardware<'_>) {
        let mut dma_disabled = None;
        let mut is_dma_disabled =
            || *dma_disabled.get_or_insert_with(|| bus_master::disable_dma(hardware.pdev()));

        self.request_stop_all(hardware);
        let deadline = StopDeadline::new();
        let mut abandoned = self
            .mappings
            .close_all(hardware, &deadline, &mut is_dma_disabled);
        for (number, memory) in self.memory {
            if hardware.wait_stopped(number, &deadline).is_err() && !is_dma_disabled() {
                abandoned += memory.pages().count();
                memory.leak();
            }
        }
        if abandoned != 0 {
            dev_warn!(
                hardware.pdev(),
                "the device could not be stopped: {abandoned} pages are left to it for ever\n"
            );
        }
    }
}
