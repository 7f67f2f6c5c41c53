// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers: what may be done with them, and under which lock.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use exo_platform::{Registers, SpinLock, now_ns, spin_for_ns};
use my_rng_abi::registers::{
    DOORBELL, FEATURE_QUEUES, FEATURE_WIDE_SEEDS, FEATURES, GENERATOR, IDENT, IDENT_VALUE, QUEUE_CONTROL,
    QUEUE_COUNT, QUEUE_DEPTH, QUEUE_DESCRIPTORS_HIGH, QUEUE_DESCRIPTORS_LOW, QUEUE_ENABLE, QUEUE_SELECT,
    QUEUE_STATE_HIGH, QUEUE_STATE_LOW, QUEUE_STREAM_SHIFT, QUEUE_VECTOR, RAND32, RAND64_HIGH, RAND64_LOW,
    SEED, SEED_ABILITIES, SEED_COMMAND, SEED_WORD_COUNT, SEED_WORDS, STREAM_NUMBER, VERSION, VERSION_VALUE,
    takes_seed_command,
};

use crate::{DriverError, random::RandomError};

/// What a read returns when nothing answers on the bus.
const ALL_ONES: u32 = u32::MAX;
/// How long the device may take to stop a queue: it fills one buffer in less than a millisecond, a busy host needs longer.
const TIME_TO_STOP_NS: u64 = 500_000_000;
/// Between two looks at whether it has stopped.
const LOOK_NS: u64 = 20_000;
/// More queues than any device has; what says more is broken.
const QUEUES_MAX: u32 = 2048;

/// How a queue is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetUp {
    pub(super) number: u32,
    /// One of `STREAM_…`.
    pub(super) stream: u32,
    pub(super) depth: u32,
    pub(super) vector: u32,
    pub(super) descriptors: u64,
    pub(super) state: u64,
}

/// The registers of one device.
pub(super) struct Hardware {
    registers: Registers,
    /// Set when the device did not answer. It is then given up: whoever asked it once more would wait for it once more.
    silent: AtomicBool,
    doorbells: AtomicU64,
    /// The right to use the latch for 64-bit numbers, of which there is one; a seed must not come between its halves.
    latch: SpinLock<()>,
    /// The right to say which queue the registers mean.
    select: SpinLock<()>,
}

impl Hardware {
    pub(super) fn new(registers: Registers) -> Self {
        Self {
            registers,
            silent: AtomicBool::new(false),
            doorbells: AtomicU64::new(0),
            latch: SpinLock::new(()),
            select: SpinLock::new(()),
        }
    }

    /// Whether the device is what its PCI identity promises.
    pub(super) fn identify(&self) -> Result<(), DriverError> {
        if self.registers.read32(IDENT) != IDENT_VALUE {
            return Err(DriverError::Declined("its identification register says so"));
        }
        // Another minor version only adds registers.
        if self.registers.read32(VERSION) >> 16 != VERSION_VALUE >> 16 {
            return Err(DriverError::Declined("its registers are of another version"));
        }
        Ok(())
    }

    /// Says [`RandomError::Gone`] if the device was found silent before.
    #[inline]
    pub(super) fn was_there(&self) -> Result<(), RandomError> {
        if self.silent.load(Ordering::Relaxed) { Err(RandomError::Gone) } else { Ok(()) }
    }

    /// Whether the device answers.
    pub(super) fn is_there(&self) -> Result<(), RandomError> {
        self.was_there()?;
        if self.registers.read32(IDENT) == IDENT_VALUE {
            return Ok(());
        }
        self.give_up();
        Err(RandomError::Gone)
    }

    /// The device is not asked again.
    pub(super) fn give_up(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// All ones is also a number that may be drawn, but never what the identification reads.
    fn answered(&self, suspect: bool) -> Result<(), RandomError> {
        if suspect { self.is_there() } else { Ok(()) }
    }

    /// Draws from the registers: two numbers are the halves of one, the high one first.
    pub(super) fn draw(&self, numbers: &mut [u32]) -> Result<(), RandomError> {
        if let [high, low] = numbers {
            let _latch = self.latch.lock();
            *low = self.registers.read32(RAND64_LOW);
            *high = self.registers.read32(RAND64_HIGH);
            return self.answered(*low == ALL_ONES || *high == ALL_ONES);
        }
        for number in numbers {
            *number = self.registers.read32(RAND32);
            self.answered(*number == ALL_ONES)?;
        }
        Ok(())
    }

    /// Restarts the seedable stream.
    pub(super) fn seed(&self, seed: u32) -> Result<(), RandomError> {
        let _latch = self.latch.lock();
        self.registers.write32(SEED, seed);
        // Reading back makes sure that the device has seen it.
        self.is_there()
    }

    /// Whether the generator takes that [`SEED_COMMAND`]. It must not be asked for what it does not: the stream would be disturbed.
    pub(super) fn check_seed_command(&self, command: u32) -> Result<(), RandomError> {
        self.is_there()?;
        let read = |register| self.registers.read32(register);
        let taken = read(FEATURES) & FEATURE_WIDE_SEEDS != 0
            && takes_seed_command(read(GENERATOR), read(SEED_ABILITIES), command);
        if taken { Ok(()) } else { Err(RandomError::Unsupported) }
    }

    /// Gives the command with its words and its stream's number.
    pub(super) fn command_seed(&self, command: u32, words: &[u32], stream: u64) -> Result<(), RandomError> {
        let _latch = self.latch.lock();
        for (place, word) in words.iter().take(SEED_WORD_COUNT).enumerate() {
            self.registers.write32(SEED_WORDS + place * size_of::<u32>(), *word);
        }
        self.registers.write32(STREAM_NUMBER, stream as u32);
        self.registers.write32(STREAM_NUMBER + size_of::<u32>(), (stream >> 32) as u32);
        self.registers.write32(SEED_COMMAND, command);
        // Reading back also makes sure that the device has seen it.
        match self.registers.read32(SEED_COMMAND) {
            0 => Ok(()),
            ALL_ONES => self.is_there(),
            _ => Err(RandomError::Unsupported),
        }
    }

    /// How many queues there are.
    pub(super) fn queue_count(&self) -> u32 {
        let features = self.registers.read32(FEATURES);
        if features == ALL_ONES || features & FEATURE_QUEUES == 0 {
            return 0;
        }
        let count = self.registers.read32(QUEUE_COUNT);
        if count > QUEUES_MAX { 0 } else { count }
    }

    /// Starts a queue, whose state is all 0.
    pub(super) fn start_queue(&self, queue: &SetUp) -> Result<(), RandomError> {
        self.was_there()?;
        let _select = self.select.lock();
        let (low, high) = (|address: u64| address as u32, |address: u64| (address >> 32) as u32);
        for (register, value) in [
            (QUEUE_SELECT, queue.number),
            (QUEUE_DEPTH, queue.depth),
            (QUEUE_VECTOR, queue.vector),
            (QUEUE_DESCRIPTORS_LOW, low(queue.descriptors)),
            (QUEUE_DESCRIPTORS_HIGH, high(queue.descriptors)),
            (QUEUE_STATE_LOW, low(queue.state)),
            (QUEUE_STATE_HIGH, high(queue.state)),
            (QUEUE_CONTROL, (queue.stream << QUEUE_STREAM_SHIFT) | QUEUE_ENABLE),
        ] {
            self.registers.write32(register, value);
        }
        let control = self.registers.read32(QUEUE_CONTROL);
        self.answered(control == ALL_ONES)?;
        if control & QUEUE_ENABLE != 0 { Ok(()) } else { Err(RandomError::Failed) }
    }

    /// Stops a queue. On success the device does not touch its memory any more.
    pub(super) fn stop_queue(&self, number: u32) -> Result<(), RandomError> {
        self.was_there()?;
        let _select = self.select.lock();
        self.registers.write32(QUEUE_SELECT, number);
        self.registers.write32(QUEUE_CONTROL, 0);
        let deadline = now_ns().saturating_add(TIME_TO_STOP_NS);
        loop {
            // The device finishes the buffer that it is at first, and says so.
            let control = self.registers.read32(QUEUE_CONTROL);
            self.answered(control == ALL_ONES)?;
            if control & QUEUE_ENABLE == 0 {
                return Ok(());
            }
            if now_ns() > deadline {
                return Err(RandomError::Failed);
            }
            spin_for_ns(LOOK_NS);
        }
    }

    /// How often a queue had to be woken.
    pub(super) fn doorbells(&self) -> u64 {
        self.doorbells.load(Ordering::Relaxed)
    }

    /// Wakes a queue.
    pub(super) fn ring_doorbell(&self, number: u32) {
        self.doorbells.fetch_add(1, Ordering::Relaxed);
        self.registers.write32(DOORBELL, number);
    }
}
