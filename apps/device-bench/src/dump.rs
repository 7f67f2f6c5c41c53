// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raw numbers on stdout, for programs that judge them: those that a driver could get without a queue.

use std::io::{self, Write};
use std::thread;

use anyhow::{Context as _, bail, ensure};
use my_rng_abi::queue::STREAM_ENTROPY;
use my_rng_abi::registers::{
    GENERATOR, ONE_SHOT_COMMAND, ONE_SHOT_COUNT, ONE_SHOT_DESTINATION, ONE_SHOT_ERROR, ONE_SHOT_MAX,
    ONE_SHOT_SOURCE, ONE_SHOT_START, ONE_SHOT_TO_GUEST, RAND32,
};
use vm_memory::{Bytes, MmapRegion, VolatileMemory};

use crate::guest::{Registers, SIZE};

/// Bytes that are got at a time: the most of one transfer.
const PIECE: usize = ONE_SHOT_MAX as usize;
const _: () = assert!(PIECE <= SIZE, "it fits into the memory");

/// How the numbers are got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The seedable stream of this generator (one of `my_rng_abi`'s `GENERATOR_…`), a register access for each 32 bits.
    Registers(u32),
    /// The entropy stream, by one-shot transfers.
    OneShot,
}

/// Writes so many bytes.
pub(crate) fn dump(
    registers: &mut Registers,
    memory: &MmapRegion,
    way: Way,
    bytes: u64,
) -> anyhow::Result<()> {
    if let Way::Registers(generator) = way {
        registers.write(GENERATOR, generator)?;
        let chosen = registers.read(GENERATOR)?;
        ensure!(chosen == generator, "generator {generator} was asked for, the device has {chosen}");
    }
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let piece = buffer.get_mut(..length).context("a piece is longer than the memory")?;
        match way {
            Way::Registers(_) => draw(registers, piece)?,
            Way::OneShot => transfer(registers, memory, piece)?,
        }
        out.write_all(piece)?;
        left = left.saturating_sub(length as u64);
    }
    Ok(out.flush()?)
}

fn draw(registers: &mut Registers, piece: &mut [u8]) -> anyhow::Result<()> {
    for number in piece.chunks_mut(size_of::<u32>()) {
        let bytes = registers.read(RAND32)?.to_le_bytes();
        number.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }
    Ok(())
}

fn transfer(registers: &mut Registers, memory: &MmapRegion, piece: &mut [u8]) -> anyhow::Result<()> {
    let count = u32::try_from(piece.len())?;
    for (offset, value) in
        [(ONE_SHOT_SOURCE, STREAM_ENTROPY), (ONE_SHOT_DESTINATION, 0), (ONE_SHOT_COUNT, count)]
    {
        registers.write(offset, value)?;
        registers.write(offset + size_of::<u32>(), 0)?;
    }
    registers.write(ONE_SHOT_COMMAND, ONE_SHOT_START | ONE_SHOT_TO_GUEST)?;
    loop {
        match registers.read(ONE_SHOT_COMMAND)? {
            state if state & ONE_SHOT_ERROR != 0 => bail!("the device has refused a one-shot transfer"),
            state if state & ONE_SHOT_START != 0 => thread::yield_now(),
            _ => break,
        }
    }
    Ok(memory.as_volatile_slice().read_slice(piece, 0)?)
}
