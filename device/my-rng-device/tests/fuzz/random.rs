// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source of all choices: one of the device's own reproducible generators.

use my_rng_device::generators::{Generator, Kind};

/// Choices that are the same for the same seed.
pub(crate) struct Random(Generator);

impl Random {
    pub(crate) fn new(seed: u32) -> Self {
        Self(Generator::new(Kind::Pcg64, seed))
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.u32() as usize % bound
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A number that is interesting for being small, large, a power of two, or next to one.
    pub(crate) fn edge(&mut self) -> u64 {
        let power = 1_u64 << self.below(64);
        match self.below(6) {
            0 => self.u32() as u64 % 8,
            1 => power,
            2 => power.wrapping_sub(1),
            3 => power.wrapping_add(1),
            4 => u64::MAX - self.u32() as u64 % 8192,
            _ => self.u64(),
        }
    }
}
