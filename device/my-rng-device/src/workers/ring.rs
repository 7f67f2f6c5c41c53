// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue of either personality, as a worker sees it.

use std::time::Duration;

use my_rng_abi::registers as abi;

use crate::memory::Memory;
use crate::queue::{Fault, GuestQueue, Limit, Queue, STEP, Source, Step};
use crate::registers::{SetUp, Stream};
use crate::shared::{RunState, Shared};
use crate::virtio::transport::QUEUE;
use crate::virtio::virtqueue::{self, Virtqueue};

/// How long a queue without work is watched before it sleeps. A doorbell costs a guest some ten microseconds of its
/// processor, and the wake-up as much again, so that watching longer than this costs more than it saves.
const WATCH: Duration = Duration::from_micros(100);

/// The same of a virtqueue. Linux's driver has one small buffer there, which it offers again when a program has taken what
/// was in the last one: a doorbell for each is what would cost most of all, and an interrupt lies in between.
const WATCH_VIRTQUEUE: Duration = Duration::from_micros(300);

/// How a queue is set up.
#[derive(Debug, Clone, Copy)]
pub(super) enum RingSetUp {
    Native(SetUp),
    Virtio(virtqueue::SetUp),
}

impl RingSetUp {
    /// Where its bytes come from.
    pub(super) fn stream(&self) -> Stream {
        match self {
            Self::Native(set_up) => set_up.stream,
            Self::Virtio(_) => Stream::Entropy,
        }
    }

    /// Notes, for the guest, that the queue has stopped.
    pub(super) fn fail(&self, fault: Fault, memory: &mut impl Memory, shared: &Shared) {
        let runs = shared.queue(QUEUE).is_some_and(|cell| cell.state() == RunState::Running);
        match self {
            Self::Native(set_up) => {
                Queue::fail(set_up, fault, memory);
                shared.raise_status(abi::STATUS_QUEUE_ERROR);
            }
            Self::Virtio(_) if runs => shared.signals.set_needs_reset(),
            // It was being reset while this worker waited for the client, and begins anew.
            Self::Virtio(_) => {}
        }
    }
}

/// A queue that runs.
#[derive(Debug)]
pub(super) enum Ring {
    Native(Queue),
    Virtio(Virtqueue),
}

impl Ring {
    pub(super) fn start(set_up: RingSetUp, memory: &mut impl Memory) -> Result<Self, Fault> {
        match set_up {
            RingSetUp::Native(set_up) => Queue::start(set_up, memory).map(Self::Native),
            RingSetUp::Virtio(set_up) => Virtqueue::start(set_up, memory).map(Self::Virtio),
        }
    }

    pub(super) fn set_up(&self) -> RingSetUp {
        match self {
            Self::Native(queue) => RingSetUp::Native(*queue.set_up()),
            Self::Virtio(queue) => RingSetUp::Virtio(*queue.set_up()),
        }
    }

    /// How long to watch it when there is nothing to do.
    pub(super) fn watch(&self) -> Duration {
        match self {
            Self::Native(_) => WATCH,
            Self::Virtio(_) => WATCH_VIRTQUEUE,
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        match self {
            Self::Native(queue) => queue.is_asleep(),
            Self::Virtio(queue) => queue.is_asleep(),
        }
    }

    pub(super) fn step(
        &mut self,
        memory: &mut impl Memory,
        source: &mut impl Source,
        space: &mut [u8; STEP],
        limit: &mut impl Limit,
    ) -> Result<Step, Fault> {
        match self {
            Self::Native(queue) => queue.step(memory, source, space, limit),
            Self::Virtio(queue) => queue.step(memory, source, space, limit),
        }
    }

    pub(super) fn try_to_sleep(&mut self, memory: &mut impl Memory) -> Result<bool, Fault> {
        match self {
            Self::Native(queue) => queue.try_to_sleep(memory),
            Self::Virtio(queue) => queue.try_to_sleep(memory),
        }
    }

    pub(super) fn wake(&mut self, memory: &mut impl Memory) -> Result<(), Fault> {
        match self {
            Self::Native(queue) => queue.wake(memory),
            Self::Virtio(queue) => queue.wake(memory),
        }
    }
}
