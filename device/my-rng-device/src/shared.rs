// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the thread that answers for the registers and the workers that serve the queues both see.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use my_rng_abi::registers as abi;
use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::limiter::Limiter;
use crate::metrics::{Counters, QueueCounters};
pub use crate::personality::{InterruptKind, Personality, QUEUES, VECTORS};
use crate::stream::{PowerOn, SeedableStream};
use crate::virtio::signals::{Sent, Signals};
use crate::watchdog::Caller;

/// Whether a queue runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum RunState {
    /// Nobody serves it; the guest can set it up.
    Off,
    /// A worker serves it.
    Running,
    /// A worker may still be at it.
    Stopping,
}

/// What is seen of a queue. The registers set [`RunState::Running`] and [`RunState::Stopping`], its worker
/// [`RunState::Off`].
#[derive(Debug, Default)]
pub struct QueueCell {
    state: AtomicU8,
    /// What the queue counts.
    pub counters: QueueCounters,
}

impl QueueCell {
    /// Whether it runs. Who sees [`RunState::Off`] also sees all that the worker wrote.
    pub fn state(&self) -> RunState {
        match self.state.load(Ordering::Acquire) {
            0 => RunState::Off,
            1 => RunState::Running,
            _ => RunState::Stopping,
        }
    }

    /// A queue that runs is to stop. One that its worker has let go of at the same moment stays [`RunState::Off`]: nobody
    /// would say so a second time.
    pub fn stop(&self) {
        let (running, stopping) = (RunState::Running as u8, RunState::Stopping as u8);
        // In any other state there is nothing to do.
        let _ = self.state.compare_exchange(running, stopping, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Changes the state; what this thread wrote before is seen by who sees the change.
    pub fn set_state(&self, state: RunState) {
        self.state.store(state as u8, Ordering::Release);
    }
}

/// What is seen of the one-shot transfer: [`abi::ONE_SHOT_START`] and [`abi::ONE_SHOT_ERROR`].
#[derive(Debug, Default)]
pub struct OneShotCell(AtomicU32);

impl OneShotCell {
    /// The two bits.
    pub fn bits(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Whether a transfer runs.
    pub fn is_running(&self) -> bool {
        self.bits() & abi::ONE_SHOT_START != 0
    }

    /// Changes the two bits.
    pub fn set(&self, bits: u32) {
        self.0.store(bits, Ordering::Release);
    }
}

/// What the threads of a device share.
#[derive(Debug)]
pub struct Shared {
    /// How the device starts.
    pub power_on: PowerOn,
    stream: Mutex<SeedableStream>,
    status: AtomicU32,
    queues: [QueueCell; QUEUES],
    /// The one-shot transfer.
    pub one_shot: OneShotCell,
    /// How much the guest may take.
    pub limiter: Budget,
    /// What a virtio device and its workers both see.
    pub signals: Signals,
    /// What the device counts.
    pub counters: Counters,
    /// Set by a worker that panicked.
    pub failed: AtomicBool,
    /// The device's number in its program, for the log.
    pub number: Option<usize>,
    /// To be called by who begins to work.
    pub watchdog: Caller,
    generation: AtomicU64,
}

impl Shared {
    /// What the threads of a device that has just been powered on share.
    pub fn new(power_on: PowerOn) -> Self {
        Self {
            power_on,
            stream: Mutex::new(SeedableStream::new(power_on)),
            status: AtomicU32::new(0),
            queues: std::array::from_fn(|_| QueueCell::default()),
            one_shot: OneShotCell::default(),
            limiter: Budget::default(),
            signals: Signals::default(),
            counters: Counters::default(),
            failed: AtomicBool::new(false),
            number: None,
            watchdog: Caller::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// From now on no byte comes from a key that was taken before.
    pub fn new_generation(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// How often [`Self::new_generation`] was called.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The same for the device with that number in a program that has a watchdog.
    /// `limiter` has the limits that all devices share.
    pub fn of_program(power_on: PowerOn, number: usize, limiter: Arc<Limiter>, watchdog: Caller) -> Self {
        Self { number: Some(number), limiter: Budget::within(limiter), watchdog, ..Self::new(power_on) }
    }

    /// The seedable stream. Whoever draws holds it, for at most some ten microseconds.
    pub fn stream(&self) -> MutexGuard<'_, SeedableStream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an interrupt.
    pub fn count_interrupt(&self, sent: Sent) {
        match sent {
            Sent::Yes => self.counters.interrupts.add_one(),
            Sent::No => self.counters.interrupts_unassigned.add_one(),
            Sent::NotWanted => {}
        }
    }

    /// A queue.
    pub fn queue(&self, number: usize) -> Option<&QueueCell> {
        self.queues.get(number)
    }

    /// All queues.
    pub fn queues(&self) -> &[QueueCell] {
        &self.queues
    }

    /// The bits of [`abi::STATUS`].
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::Acquire)
    }

    /// Sets bits of [`abi::STATUS`].
    pub fn raise_status(&self, bits: u32) {
        self.status.fetch_or(bits, Ordering::AcqRel);
    }

    /// Clears bits of [`abi::STATUS`].
    pub fn clear_status(&self, bits: u32) {
        self.status.fetch_and(!bits, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_has_just_been_let_go_of_does_not_stop_for_ever() {
        let cell = QueueCell::default();
        for (before, after) in [
            (RunState::Off, RunState::Off),
            (RunState::Running, RunState::Stopping),
            (RunState::Stopping, RunState::Stopping),
        ] {
            cell.set_state(before);
            cell.stop();
            assert_eq!(cell.state(), after, "{before:?}");
        }
    }
}
