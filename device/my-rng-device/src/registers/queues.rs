// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers with which a guest sets up one queue, and the judgement of what it set.

use my_rng_abi::queue::{DEPTH_MAX, DESCRIPTOR_SIZE, STATE_SIZE, STREAM_ENTROPY, STREAM_SEEDABLE};
use my_rng_abi::registers as abi;

use super::map::QueueRegister;

/// Alignment of the descriptors in bytes.
const DESCRIPTORS_ALIGNMENT: u64 = 16;
/// The bits of the stream's number in [`abi::QUEUE_CONTROL`].
const STREAM_MASK: u32 = 0xff << abi::QUEUE_STREAM_SHIFT;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Never reproducible.
    Entropy,
    /// The device's reproducible stream.
    Seedable,
}

impl Stream {
    /// The stream with that number in the interface.
    pub fn from_number(number: u64) -> Option<Self> {
        match u32::try_from(number) {
            Ok(STREAM_ENTROPY) => Some(Self::Entropy),
            Ok(STREAM_SEEDABLE) => Some(Self::Seedable),
            _ => None,
        }
    }
}

/// An interrupt vector that exists, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vector(pub Option<u16>);

impl Vector {
    /// The vector with that number in a register of a device that has so many.
    pub fn from_number(number: u32, vectors: u16) -> Option<Self> {
        match u16::try_from(number) {
            Ok(vector) if vector < vectors => Some(Self(Some(vector))),
            _ if number == abi::NO_VECTOR => Some(Self(None)),
            _ => None,
        }
    }
}

/// A queue's set-up, found to be valid as far as that can be seen without looking at guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetUp {
    /// Descriptors; a power of two, at most [`DEPTH_MAX`].
    pub depth: u32,
    /// Where the descriptors are; they do not pass the end of the address space.
    pub descriptors: u64,
    /// Where the state is; it does not pass the end of the address space either.
    pub state: u64,
    /// What it gives.
    pub stream: Stream,
    /// What it interrupts with.
    pub vector: Vector,
}

/// The registers of one queue, apart from whether it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueRegisters {
    stream: u32,
    depth: u32,
    vector: u32,
    descriptors: u64,
    state: u64,
}

impl QueueRegisters {
    pub(super) fn new() -> Self {
        Self { stream: STREAM_ENTROPY, depth: 0, vector: abi::NO_VECTOR, descriptors: 0, state: 0 }
    }

    /// What a register reads; of [`abi::QUEUE_CONTROL`] the stream.
    pub(super) fn read(&self, register: QueueRegister) -> u32 {
        match register {
            QueueRegister::Control => self.stream << abi::QUEUE_STREAM_SHIFT,
            QueueRegister::Depth => self.depth,
            QueueRegister::Vector => self.vector,
            QueueRegister::Descriptors(half) => half.of(self.descriptors),
            QueueRegister::State(half) => half.of(self.state),
        }
    }

    /// Writes a register; of [`abi::QUEUE_CONTROL`] the stream. What makes no sense is kept, and found by
    /// [`Self::set_up`].
    pub(super) fn write(&mut self, register: QueueRegister, value: u32) {
        match register {
            QueueRegister::Control => self.stream = (value & STREAM_MASK) >> abi::QUEUE_STREAM_SHIFT,
            QueueRegister::Depth => self.depth = value,
            QueueRegister::Vector => self.vector = value,
            QueueRegister::Descriptors(half) => self.descriptors = half.put(self.descriptors, value),
            QueueRegister::State(half) => self.state = half.put(self.state, value),
        }
    }

    /// What the registers say, if that is valid for a device with so many vectors.
    pub(super) fn set_up(&self, vectors: u16) -> Option<SetUp> {
        let Self { stream, depth, vector, descriptors, state } = *self;
        let fits = |start: u64, size: u64| start.checked_add(size.saturating_sub(1)).is_some();
        let valid = depth.is_power_of_two()
            && depth <= DEPTH_MAX
            && descriptors % DESCRIPTORS_ALIGNMENT == 0
            && state % STATE_SIZE as u64 == 0
            && fits(descriptors, u64::from(depth).saturating_mul(DESCRIPTOR_SIZE as u64))
            && fits(state, STATE_SIZE as u64);
        let (stream, vector) = (Stream::from_number(stream.into())?, Vector::from_number(vector, vectors)?);
        valid.then_some(SetUp { depth, descriptors, state, stream, vector })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::map::Half;
    use crate::shared::VECTORS;

    fn valid() -> QueueRegisters {
        QueueRegisters { stream: 1, depth: 256, vector: 3, descriptors: 0x1_0010, state: 0x2_0000 }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut registers = QueueRegisters::new();
        let all = [
            (QueueRegister::Control, 1 << 8),
            (QueueRegister::Depth, 256),
            (QueueRegister::Vector, 3),
            (QueueRegister::Descriptors(Half::Low), 0x1_0010),
            (QueueRegister::Descriptors(Half::High), 0),
            (QueueRegister::State(Half::High), 0),
            (QueueRegister::State(Half::Low), 0x2_0000),
        ];
        for (register, value) in all {
            registers.write(register, value);
            assert_eq!(registers.read(register), value);
        }
        assert_eq!(registers, valid());
        let expected = SetUp {
            depth: 256,
            descriptors: 0x1_0010,
            state: 0x2_0000,
            stream: Stream::Seedable,
            vector: Vector(Some(3)),
        };
        assert_eq!(registers.set_up(VECTORS), Some(expected));
    }

    #[test]
    fn a_set_up_that_breaks_a_rule_is_none() {
        let wrong = [
            QueueRegisters { stream: 2, ..valid() },
            QueueRegisters { depth: 0, ..valid() },
            QueueRegisters { depth: 3, ..valid() },
            QueueRegisters { depth: 2 * DEPTH_MAX, ..valid() },
            QueueRegisters { depth: u32::MAX, ..valid() },
            QueueRegisters { vector: VECTORS.into(), ..valid() },
            QueueRegisters { vector: u32::MAX, ..valid() },
            QueueRegisters { vector: abi::NO_VECTOR | 0x1_0000, ..valid() },
            QueueRegisters { descriptors: 8, ..valid() },
            QueueRegisters { descriptors: u64::MAX - 15, ..valid() },
            QueueRegisters { state: 0x800, ..valid() },
        ];
        for registers in wrong {
            assert_eq!(registers.set_up(VECTORS), None, "{registers:?}");
        }
        let last_vector = QueueRegisters { vector: u32::from(VECTORS) - 1, ..valid() };
        assert!(last_vector.set_up(VECTORS).is_some());
        assert_eq!(last_vector.set_up(VECTORS - 1), None, "a device may have fewer");
        let last = QueueRegisters { depth: 1, descriptors: u64::MAX - 15, state: u64::MAX - 4095, ..valid() };
        assert!(last.set_up(VECTORS).is_some(), "the last addresses are addresses");
        let silent = QueueRegisters { vector: abi::NO_VECTOR, ..valid() };
        assert_eq!(silent.set_up(VECTORS).unwrap().vector, Vector(None));
    }
}
