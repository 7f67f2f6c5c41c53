// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways to random numbers. Whatever a source was given, it looks at every byte of it: a program would, too.

mod ioctl;
mod mapped;
mod mmio;
mod null_ioctl;
mod program;
mod reads;

use crate::Failure;

pub(crate) use ioctl::{Rand32, Rand64};
pub(crate) use mapped::Mapped;
pub(crate) use mmio::Registers;
pub(crate) use null_ioctl::NullIoctl;
pub(crate) use program::{OwnChaCha20, VdsoGetRandom};
pub(crate) use reads::{File, GetRandom, MemoryFile};

/// A way to numbers that every thread can open for itself.
pub(crate) trait Ways: Sync {
    /// Sets the machine up for this way, where one excludes another.
    fn select(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Opens it.
    fn open(&self) -> Result<Box<dyn Source + '_>, Failure>;
}

/// A way that a thread has opened.
pub(crate) trait Source {
    /// Gets some numbers: enough that looking at the clock after each step costs next to nothing.
    fn step(&mut self) -> Result<Step, Failure>;
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Calls or register accesses.
    pub(crate) operations: u64,
    /// Bytes that were got and looked at.
    pub(crate) bytes: u64,
    /// Sum of the 64-bit words, so that no compiler can leave the looking out.
    pub(crate) sum: u64,
}

/// Adds up the 64-bit words of `bytes`, and the bytes that are left at their end.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let rest = words.remainder().iter().fold(0_u64, |sum, &byte| sum.wrapping_add(byte.into()));
    words.fold(rest, |sum, word| {
        // Chunks have that length; the default never comes into being.
        sum.wrapping_add(u64::from_ne_bytes(word.try_into().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts() {
        let bytes: Vec<u8> = (1..=29).collect();
        let whole = sum(&bytes);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert_ne!(sum(&changed), whole, "byte {at}");
        }
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]), 6);
    }
}
