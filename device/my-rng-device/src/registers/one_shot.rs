// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of one-shot transfers, laid out as those of QEMU's `edu` device (`docs/specs/edu.rst`), and the judgement
//! of what they ask for. Unlike `edu`, what is out of bounds is refused.

use my_rng_abi::registers as abi;

use super::map::OneShotRegister;
use super::queues::{Stream, Vector};

/// Bits of the command that are kept: the start and the error are those of the transfer, not of the register.
const KEPT: u32 = abi::ONE_SHOT_TO_GUEST | abi::ONE_SHOT_INTERRUPT;

/// A transfer, found to be sensible as far as that can be seen without looking at guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneShot {
    /// What is transferred.
    pub stream: Stream,
    /// Where to. The end does not pass the end of the address space.
    pub address: u64,
    /// Bytes, 1 to [`abi::ONE_SHOT_MAX`].
    pub length: usize,
    /// What to interrupt with at the end.
    pub vector: Vector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OneShotRegisters {
    vector: u32,
    source: u64,
    destination: u64,
    count: u64,
    command: u32,
}

impl OneShotRegisters {
    pub(super) fn new() -> Self {
        Self { vector: abi::NO_VECTOR, source: 0, destination: 0, count: 0, command: 0 }
    }

    /// What a register reads; of the command, what was written.
    pub(super) fn read(&self, register: OneShotRegister) -> u32 {
        match register {
            OneShotRegister::Vector => self.vector,
            OneShotRegister::Source(half) => half.of(self.source),
            OneShotRegister::Destination(half) => half.of(self.destination),
            OneShotRegister::Count(half) => half.of(self.count),
            OneShotRegister::Command => self.command,
        }
    }

    pub(super) fn write(&mut self, register: OneShotRegister, value: u32) {
        match register {
            OneShotRegister::Vector => self.vector = value,
            OneShotRegister::Source(half) => self.source = half.put(self.source, value),
            OneShotRegister::Destination(half) => self.destination = half.put(self.destination, value),
            OneShotRegister::Count(half) => self.count = half.put(self.count, value),
            OneShotRegister::Command => self.command = value & KEPT,
        }
    }

    /// What to interrupt with, if that is wanted and possible on a device with so many vectors.
    pub(super) fn interrupt(&self, vectors: u16) -> Option<Vector> {
        let wanted = self.command & abi::ONE_SHOT_INTERRUPT != 0;
        Vector::from_number(self.vector, vectors).filter(|vector| wanted && vector.0.is_some())
    }

    /// What the registers ask for, if that is sensible on a device with so many vectors.
    pub(super) fn transfer(&self, vectors: u16) -> Option<OneShot> {
        let stream = Stream::from_number(self.source)?;
        let vector = match self.command & abi::ONE_SHOT_INTERRUPT {
            0 => Vector(None),
            _ => Vector::from_number(self.vector, vectors)?,
        };
        let sensible = self.command & abi::ONE_SHOT_TO_GUEST != 0
            && (1..=abi::ONE_SHOT_MAX).contains(&self.count)
            && self.destination.checked_add(self.count.saturating_sub(1)).is_some();
        let length = usize::try_from(self.count).ok()?;
        sensible.then_some(OneShot { stream, address: self.destination, length, vector })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::VECTORS;

    fn valid() -> OneShotRegisters {
        OneShotRegisters {
            vector: 32,
            source: 1,
            destination: 0x1234,
            count: abi::ONE_SHOT_MAX,
            command: abi::ONE_SHOT_TO_GUEST | abi::ONE_SHOT_INTERRUPT,
        }
    }

    #[test]
    fn a_sensible_transfer_is_understood() {
        let expected =
            OneShot { stream: Stream::Seedable, address: 0x1234, length: 1 << 20, vector: Vector(Some(32)) };
        assert_eq!(valid().transfer(VECTORS), Some(expected));
        let quiet = OneShotRegisters { vector: 9999, command: abi::ONE_SHOT_TO_GUEST, ..valid() };
        assert_eq!(quiet.transfer(VECTORS), Some(OneShot { vector: Vector(None), ..expected }));
        let last = OneShotRegisters { destination: u64::MAX, count: 1, ..valid() };
        assert!(last.transfer(VECTORS).is_some(), "the last address is an address");
    }

    #[test]
    fn a_senseless_transfer_is_refused() {
        let wrong = [
            OneShotRegisters { vector: 33, ..valid() },
            OneShotRegisters { source: 2, ..valid() },
            OneShotRegisters { source: 1 << 32, ..valid() },
            OneShotRegisters { count: 0, ..valid() },
            OneShotRegisters { count: abi::ONE_SHOT_MAX + 1, ..valid() },
            OneShotRegisters { count: u64::MAX, ..valid() },
            OneShotRegisters { destination: u64::MAX, count: 2, ..valid() },
            OneShotRegisters { command: abi::ONE_SHOT_INTERRUPT, ..valid() },
        ];
        for registers in wrong {
            assert_eq!(registers.transfer(VECTORS), None, "{registers:?}");
        }
    }

    #[test]
    fn start_and_error_cannot_be_written() {
        let mut registers = OneShotRegisters::new();
        registers.write(OneShotRegister::Command, u32::MAX);
        assert_eq!(registers.read(OneShotRegister::Command), KEPT);
    }
}
