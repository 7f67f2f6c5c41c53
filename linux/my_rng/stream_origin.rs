// SPDX-License-Identifier: GPL-2.0

//! Where the seedable stream begins: what a device that was reset must be told.

use crate::abi::registers::{
    SEED_BITS_32,
    SEED_SEEK,
    SEED_WITH_STREAM,
    SEED_WORD_COUNT, //
};

/// From where the numbers of the stream are counted: what a device that was reset must be told.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// The last SEED, with which the stream begins anew when another generator is chosen. Without
    /// one that is where the device was when it was bound; after a reset, its own seed.
    pub(crate) seed: Option<u32>,
    /// The longer seed that came after that.
    pub(crate) wide_seed: Option<SeedCommand>,
    /// The position to which the stream was moved after that.
    pub(crate) position: Option<SeedCommand>,
}

/// A command of the device's `SEED_COMMAND` register.
#[derive(Clone, Copy)]
pub(crate) struct SeedCommand {
    pub(crate) command: u32,
    pub(crate) words: [u32; SEED_WORD_COUNT],
    pub(crate) stream: u64,
}

impl Origin {
    /// Where a device is that was just bound.
    pub(crate) const BOUND: Self = Self {
        seed: None,
        wide_seed: None,
        position: None,
    };

    /// After SEED.
    pub(crate) fn seeded(self, seed: u32) -> Self {
        Self {
            seed: Some(seed),
            ..Self::BOUND
        }
    }

    /// After another generator was chosen.
    pub(crate) fn generator_chosen(self) -> Self {
        Self {
            seed: self.seed,
            ..Self::BOUND
        }
    }

    /// After a longer seed, or a seek.
    pub(crate) fn commanded(self, command: SeedCommand) -> Self {
        if command.command == SEED_SEEK {
            Self {
                position: Some(command),
                ..self
            }
        } else {
            // One of 32 bits is a SEED, if of another stream perhaps.
            let is_short = command.command & !SEED_WITH_STREAM == SEED_BITS_32;
            let [word, ..] = command.words;
            Self {
                seed: if is_short { Some(word) } else { self.seed },
                wide_seed: Some(command),
                position: None,
            }
        }
    }
}
