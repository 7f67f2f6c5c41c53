// SPDX-License-Identifier: MIT OR Apache-2.0
//! The seedable stream: one for each device, drawn from in order by registers, queues and one-shot transfers.

use crate::generators::{Generator, Kind, Seed};
use crate::personality::{InterruptKind, Personality};

/// How a device starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerOn {
    /// The generator.
    pub generator: Kind,
    /// Its seed.
    pub seed: u32,
    /// Whether it has queues, one-shot transfers and interrupts, or the classic registers alone.
    pub queues: bool,
    /// How it interrupts, if it does.
    pub interrupts: InterruptKind,
    /// What it is to its guest.
    pub personality: Personality,
}

impl Default for PowerOn {
    fn default() -> Self {
        Self {
            generator: Kind::default(),
            seed: my_rng_abi::registers::DEFAULT_SEED,
            queues: true,
            interrupts: InterruptKind::default(),
            personality: Personality::default(),
        }
    }
}

/// A seedable stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedableStream {
    kind: Kind,
    seed: u32,
    generator: Generator,
}

impl SeedableStream {
    /// The stream after power-on.
    pub fn new(PowerOn { generator: kind, seed, .. }: PowerOn) -> Self {
        Self { kind, seed, generator: Generator::new(kind, seed) }
    }

    /// The generator.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Restarts with another seed.
    pub fn set_seed(&mut self, seed: u32) {
        *self = Self::new(PowerOn { generator: self.kind, seed, ..PowerOn::default() });
    }

    /// Restarts with another generator, and the last seed.
    pub fn set_kind(&mut self, kind: Kind) {
        *self = Self::new(PowerOn { generator: kind, seed: self.seed, ..PowerOn::default() });
    }

    /// Restarts with a seed of any length, in the stream of that number. `false`: the generator takes no such thing, and
    /// nothing has changed. Another generator goes on with the last seed of 32 bits.
    #[must_use]
    pub fn reseed(&mut self, seed: Seed, stream: Option<u64>) -> bool {
        let Some(generator) = Generator::seeded(self.kind, seed, stream) else { return false };
        self.generator = generator;
        if let Seed::Bits32(seed) = seed {
            self.seed = seed;
        }
        true
    }

    /// Goes to a position ([`Generator::seek`]).
    #[must_use]
    pub fn seek(&mut self, position: u64) -> bool {
        self.generator.seek(position)
    }

    /// The next number.
    pub fn next_u32(&mut self) -> u32 {
        self.generator.next_u32()
    }

    /// The next two numbers, the first of them in the high half.
    pub fn next_u64(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Fills `bytes` with the next numbers ([`Generator::fill`]).
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill(bytes);
    }
}
