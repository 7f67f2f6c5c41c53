// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of longer seeds, stream numbers and seeking, and the judgement of what they ask for.

use my_rng_abi::registers as abi;

use super::map::SeedRegister;
use crate::generators::Seed;

/// What is asked of the seedable stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To restart, in the stream of that number or the seed's own.
    Restart(Seed, Option<u64>),
    /// To go to that position.
    Seek(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeedRegisters {
    words: [u32; abi::SEED_WORD_COUNT],
    stream: u64,
    /// The last command was refused.
    pub(super) refused: bool,
}

impl SeedRegisters {
    pub(super) fn new() -> Self {
        Self { words: [0; abi::SEED_WORD_COUNT], stream: 0, refused: false }
    }

    /// What a register reads; the abilities are the generator's.
    pub(super) fn read(&self, register: SeedRegister) -> u32 {
        match register {
            SeedRegister::Command => {
                if self.refused {
                    abi::SEED_REFUSED
                } else {
                    0
                }
            }
            SeedRegister::Abilities => 0,
            SeedRegister::Word(place) => self.words.get(place).copied().unwrap_or_default(),
            SeedRegister::Stream(half) => half.of(self.stream),
        }
    }

    /// Writes a register that only keeps what is written.
    pub(super) fn write(&mut self, register: SeedRegister, value: u32) {
        match register {
            SeedRegister::Word(place) => {
                if let Some(word) = self.words.get_mut(place) {
                    *word = value;
                }
            }
            SeedRegister::Stream(half) => self.stream = half.put(self.stream, value),
            SeedRegister::Command | SeedRegister::Abilities => {}
        }
    }

    /// What a command asks for, if it is one.
    pub(super) fn wish(&self, command: u32) -> Option<Wish> {
        let [first, second, ..] = self.words;
        let long = (u64::from(second) << 32) | u64::from(first);
        if command == abi::SEED_SEEK {
            return Some(Wish::Seek(long));
        }
        let seed = match command & !abi::SEED_WITH_STREAM {
            abi::SEED_BITS_32 => Seed::Bits32(first),
            abi::SEED_BITS_64 => Seed::Bits64(long),
            abi::SEED_BITS_256 => {
                let mut bytes = [0; 32];
                let words = self.words.iter().flat_map(|word| word.to_le_bytes());
                bytes.iter_mut().zip(words).for_each(|(to, from)| *to = from);
                Seed::Bits256(bytes)
            }
            _ => return None,
        };
        Some(Wish::Restart(seed, (command & abi::SEED_WITH_STREAM != 0).then_some(self.stream)))
    }
}
