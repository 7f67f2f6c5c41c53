// SPDX-License-Identifier: GPL-2.0

//! The generator of the seedable stream, longer seeds, stream numbers and seeking.

use super::{
    Hardware,
    ALL_ONES, //
};
use crate::{
    abi::registers::takes_seed_command,
    registers::{
        FEATURES,
        GENERATOR,
        SEED_ABILITIES,
        SEED_COMMAND,
        SEED_WORDS,
        STREAM_NUMBER_HIGH,
        STREAM_NUMBER_LOW, //
    },
    stream_origin::SeedCommand, //
};
use kernel::{
    io::{
        register::Array,
        Io, //
    },
    prelude::*, //
};

impl Hardware<'_> {
    /// Whether the seedable stream has several generators.
    pub(crate) fn has_generators(&self) -> bool {
        self.bar.read(FEATURES).generators()
    }

    /// Returns the number of the generator.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn generator(&self) -> Result<u32> {
        let number = self.bar.read(GENERATOR).number().into();
        self.check_response(number == ALL_ONES)?;
        Ok(number)
    }

    /// Chooses the generator, which restarts the stream with the last seed.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] when the device has no such generator, [`ENODEV`] when it does not answer.
    pub(crate) fn set_generator(&self, number: u32) -> Result {
        let _latch = self.latch.lock();
        self.bar.write_reg(GENERATOR::zeroed().with_number(number));
        if self.generator()? == number {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }
}

/// Longer seeds, stream numbers and seeking.
impl Hardware<'_> {
    /// Returns what the generator takes besides SEED: `SEED_TAKES_…` bits, none for a device that
    /// has no such thing.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn seed_abilities(&self) -> Result<u32> {
        self.check_response(true)?;
        if self.bar.read(FEATURES).wide_seeds() {
            Ok(self.bar.read(SEED_ABILITIES).bits().into())
        } else {
            Ok(0)
        }
    }

    /// Whether the generator takes that `SEED_COMMAND`.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] when it does not, [`ENODEV`] when the device does not answer.
    pub(crate) fn check_seed_command(&self, command: u32) -> Result {
        let abilities = self.seed_abilities()?;
        if abilities != 0 && takes_seed_command(self.generator()?, abilities, command) {
            Ok(())
        } else {
            Err(EOPNOTSUPP)
        }
    }

    /// Gives the command.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] when the device refuses it, [`ENODEV`] when it does not answer.
    pub(crate) fn command_seed(&self, command: &SeedCommand) -> Result {
        let _latch = self.latch.lock();
        let bar = &self.bar;
        let stream = command.stream;

        for (place, word) in command.words.iter().enumerate() {
            let location = SEED_WORDS::try_at(place).ok_or(EINVAL)?;
            bar.try_write(location, SEED_WORDS::zeroed().with_word(*word))?;
        }
        // CAST: The lower half.
        bar.write_reg(STREAM_NUMBER_LOW::zeroed().with_half(stream as u32));
        bar.write_reg(STREAM_NUMBER_HIGH::zeroed().with_half((stream >> 32) as u32));
        bar.write_reg(SEED_COMMAND::zeroed().with_command(command.command));

        // Also makes sure that the device has seen it before the program goes on.
        match bar.read(SEED_COMMAND).command().into() {
            0u32 => Ok(()),
            refused => {
                self.check_response(refused == ALL_ONES)?;
                Err(EOPNOTSUPP)
            }
        }
    }
}
