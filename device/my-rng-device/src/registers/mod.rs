// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of BAR 0, as a pure model: what a 32-bit access does, and nothing else.
//!
//! There is no I/O, no thread and no clock here. What an access asks of the rest of the device is returned as an
//! [`Effect`]. A guest's mistakes change nothing but a counter and a bit of [`abi::STATUS`].

mod map;
mod one_shot;
mod queues;
mod seeds;

use std::sync::Arc;

use my_rng_abi::registers as abi;

pub use map::{Half, OneShotRegister, QueueRegister, Register, SeedRegister};
pub use one_shot::OneShot;
pub use queues::{SetUp, Stream, Vector};

use crate::generators::Kind;
use crate::metrics::Counters;
use crate::shared::{QUEUES, RunState, Shared};
use one_shot::OneShotRegisters;
use queues::QueueRegisters;
use seeds::{SeedRegisters, Wish};

const FEATURES: u32 =
    abi::FEATURE_GENERATORS | abi::FEATURE_QUEUES | abi::FEATURE_ONE_SHOT | abi::FEATURE_WIDE_SEEDS;

/// What a write asks of the rest of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Serve this queue from now on. Its state is [`RunState::Running`] already.
    Start(usize, SetUp),
    /// Let go of this queue, then make its state [`RunState::Off`].
    Stop(usize),
    /// See whether there is work.
    Doorbell(usize),
    /// Do this transfer. [`Shared::one_shot`] says that it runs.
    OneShot(OneShot),
    /// Send this interrupt.
    Interrupt(Vector),
}

/// The registers.
#[derive(Debug)]
pub struct Registers {
    shared: Arc<Shared>,
    latched: u64,
    selected: u32,
    queues: [QueueRegisters; QUEUES],
    seeds: SeedRegisters,
    one_shot: OneShotRegisters,
    /// Whether the guest lets the device reach its memory (PCI's command register).
    bus_master: bool,
}

impl Registers {
    /// The registers after power-on.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            latched: 0,
            selected: 0,
            queues: [QueueRegisters::new(); QUEUES],
            seeds: SeedRegisters::new(),
            one_shot: OneShotRegisters::new(),
            bus_master: false,
        }
    }

    /// Back to power-on; the counters stay. Queues and the transfer must have been stopped before; those whose worker is
    /// still at it are seen to run until it says that they have ended.
    pub fn reset(&mut self) {
        self.shared.stream().clone_from(&crate::stream::SeedableStream::new(self.shared.power_on));
        self.shared.clear_status(u32::MAX);
        if !self.shared.one_shot.is_running() {
            self.shared.one_shot.set(0);
        }
        *self = Self::new(self.shared.clone());
    }

    /// What the device counts.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Notes whether the guest lets the device reach its memory. Without, no queue and no transfer starts.
    pub fn set_bus_master(&mut self, allowed: bool) {
        self.bus_master = allowed;
    }

    /// A 32-bit read at `offset`, in bytes, a multiple of 4. Where no register is, there is 0.
    pub fn read(&mut self, offset: u64) -> u32 {
        match self.at(offset) {
            Some(Register::Rand32) => {
                self.counters().draws32.add_one();
                self.shared.limiter.spend(1, 4);
                self.shared.stream().next_u32()
            }
            Some(Register::Rand64Low) => {
                self.counters().draws64.add_one();
                self.shared.limiter.spend(1, 8);
                self.latched = self.shared.stream().next_u64();
                Half::Low.of(self.latched)
            }
            Some(Register::Rand64High) => Half::High.of(self.latched),
            Some(Register::Seed | Register::Doorbell) => 0,
            Some(Register::Ident) => abi::IDENT_VALUE,
            Some(Register::Version) => abi::VERSION_VALUE,
            Some(Register::Features) => {
                if self.shared.power_on.queues {
                    FEATURES
                } else {
                    abi::FEATURE_GENERATORS
                }
            }
            Some(Register::Generator) => self.shared.stream().kind().number(),
            Some(Register::Status) => self.shared.status(),
            Some(Register::QueueCount) => {
                if self.shared.power_on.queues {
                    QUEUES as u32
                } else {
                    0
                }
            }
            Some(Register::QueueSelect) => self.selected,
            Some(Register::Queue(register)) => self.read_queue(register),
            Some(Register::Seeds(SeedRegister::Abilities)) => self.shared.stream().kind().abilities(),
            Some(Register::Seeds(register)) => self.seeds.read(register),
            Some(Register::OneShot(register)) => {
                let bits = self.shared.one_shot.bits();
                self.one_shot.read(register) | if register == OneShotRegister::Command { bits } else { 0 }
            }
            None => {
                self.counters().unknown_reads.add_one();
                0
            }
        }
    }

    /// A 32-bit write at `offset`, in bytes, a multiple of 4. It changes nothing but what the register table says.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Effect> {
        match self.at(offset) {
            Some(Register::Seed) => {
                self.counters().seeds.add_one();
                self.shared.stream().set_seed(value);
                None
            }
            Some(Register::Generator) => {
                self.choose_generator(value);
                None
            }
            Some(Register::Status) => {
                self.shared.clear_status(value);
                None
            }
            Some(Register::QueueSelect) => {
                self.selected = value;
                None
            }
            Some(Register::Queue(register)) => self.write_queue(register, value),
            Some(Register::Doorbell) => {
                self.counters().doorbells.add_one();
                self.shared.limiter.spend(1, 0);
                let queue = queue_number(value).filter(|&queue| self.run_state(queue) == RunState::Running);
                if queue.is_none() {
                    self.queue_mistake();
                }
                queue.map(Effect::Doorbell)
            }
            Some(Register::Seeds(SeedRegister::Command)) => {
                self.command_seed(value);
                None
            }
            Some(Register::Seeds(register)) if register != SeedRegister::Abilities => {
                self.seeds.write(register, value);
                None
            }
            Some(Register::OneShot(register)) => self.write_one_shot(register, value),
            Some(_) => {
                self.counters().read_only_writes.add_one();
                None
            }
            None => {
                self.counters().unknown_writes.add_one();
                None
            }
        }
    }

    /// The register at that offset, if this device has it.
    fn at(&self, offset: u64) -> Option<Register> {
        Register::at(offset).filter(|register| self.shared.power_on.queues || register.is_classic())
    }

    fn choose_generator(&self, number: u32) {
        match Kind::from_number(number) {
            Some(kind) => {
                self.counters().generator_choices.add_one();
                self.shared.stream().set_kind(kind);
            }
            None => {
                self.counters().unknown_generators.add_one();
                self.shared.raise_status(abi::STATUS_BAD_GENERATOR);
            }
        }
    }

    /// Restarts the seedable stream, or seeks in it.
    fn command_seed(&mut self, command: u32) {
        let done = match self.seeds.wish(command) {
            Some(Wish::Restart(seed, stream)) => {
                self.counters().seeds.add_one();
                self.shared.stream().reseed(seed, stream)
            }
            Some(Wish::Seek(position)) => {
                self.counters().seeks.add_one();
                self.shared.stream().seek(position)
            }
            None => false,
        };
        self.seeds.refused = !done;
        if !done {
            self.counters().seed_mistakes.add_one();
            self.shared.raise_status(abi::STATUS_BAD_SEED);
        }
    }

    fn vectors(&self) -> u16 {
        self.shared.power_on.interrupts.vectors()
    }

    fn run_state(&self, queue: usize) -> RunState {
        self.shared.queue(queue).map_or(RunState::Off, |cell| cell.state())
    }

    fn queue_mistake(&self) {
        self.counters().queue_mistakes.add_one();
        self.shared.raise_status(abi::STATUS_BAD_QUEUE);
    }

    fn read_queue(&self, register: QueueRegister) -> u32 {
        let Some((number, registers)) =
            queue_number(self.selected).and_then(|number| Some((number, self.queues.get(number)?)))
        else {
            return 0;
        };
        let runs = register == QueueRegister::Control && self.run_state(number) != RunState::Off;
        registers.read(register) | if runs { abi::QUEUE_ENABLE } else { 0 }
    }

    fn write_queue(&mut self, register: QueueRegister, value: u32) -> Option<Effect> {
        let (number, vectors) = (queue_number(self.selected), self.vectors());
        let state = number.map(|number| self.run_state(number));
        let enable = value & abi::QUEUE_ENABLE != 0;
        match (number, register, state) {
            (Some(number), QueueRegister::Control, Some(RunState::Running)) => {
                // Enabling it once more changes nothing.
                (!enable).then(|| {
                    self.counters().queue_stops.add_one();
                    self.set_run_state(number, RunState::Stopping);
                    Effect::Stop(number)
                })
            }
            (Some(_), QueueRegister::Control, Some(RunState::Stopping)) if !enable => None,
            (Some(number), _, Some(RunState::Off)) => {
                let registers = self.queues.get_mut(number)?;
                registers.write(register, value);
                if register != QueueRegister::Control || !enable {
                    return None;
                }
                match registers.set_up(vectors).filter(|_| self.bus_master) {
                    Some(set_up) => {
                        self.counters().queue_starts.add_one();
                        self.set_run_state(number, RunState::Running);
                        Some(Effect::Start(number, set_up))
                    }
                    None => {
                        self.queue_mistake();
                        None
                    }
                }
            }
            // No queue is selected, or one that cannot be set up now.
            _ => {
                self.queue_mistake();
                None
            }
        }
    }

    fn set_run_state(&self, queue: usize, state: RunState) {
        if let Some(cell) = self.shared.queue(queue) {
            cell.set_state(state);
        }
    }

    fn write_one_shot(&mut self, register: OneShotRegister, value: u32) -> Option<Effect> {
        let starts = register == OneShotRegister::Command && value & abi::ONE_SHOT_START != 0;
        if self.shared.one_shot.is_running() {
            if starts {
                self.one_shot_mistake();
            }
            return None; // As with edu: while a transfer runs, its registers do not change.
        }
        self.one_shot.write(register, value);
        if !starts {
            return None;
        }
        match self.one_shot.transfer(self.vectors()).filter(|_| self.bus_master) {
            Some(transfer) => {
                self.shared.one_shot.set(abi::ONE_SHOT_START);
                Some(Effect::OneShot(transfer))
            }
            None => {
                self.one_shot_mistake();
                self.shared.one_shot.set(abi::ONE_SHOT_ERROR);
                self.one_shot.interrupt(self.vectors()).map(Effect::Interrupt)
            }
        }
    }

    fn one_shot_mistake(&self) {
        self.counters().one_shot_errors.add_one();
        self.shared.raise_status(abi::STATUS_ONE_SHOT_ERROR);
    }
}

fn queue_number(value: u32) -> Option<usize> {
    usize::try_from(value).ok().filter(|&number| number < QUEUES)
}

#[cfg(test)]
mod tests;
