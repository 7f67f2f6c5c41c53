// SPDX-License-Identifier: MIT OR Apache-2.0
//! ChaCha20 as a seedable generator: the numbers of `rand_chacha`, at the speed of [`crate::chacha`].

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::chacha::{self, BLOCK, Key};

/// Numbers of a block.
const BLOCK_NUMBERS: u128 = (BLOCK / size_of::<u32>()) as u128;

/// Fewer bytes than this are not worth a detour: the crate makes four blocks at a time.
const LEAST: usize = 16 * BLOCK;

/// The generator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChaCha20(ChaCha20Rng);

impl ChaCha20 {
    /// The generator whose key `rand_chacha` makes of the seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// The generator with that key, at its beginning.
    pub fn from_key(key: Key) -> Self {
        Self(ChaCha20Rng::from_seed(key))
    }

    /// The stream of that number, at its beginning.
    #[must_use]
    pub fn in_stream(mut self, number: u64) -> Self {
        self.0.set_stream(number);
        self
    }

    /// Goes to the number with that position.
    pub fn seek(&mut self, position: u64) {
        self.0.set_word_pos(position.into());
    }

    /// The next number.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Fills `bytes` with the next numbers, each with its low byte first.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        // The fast way knows the first stream only.
        if bytes.len() < LEAST || self.0.get_stream() != 0 {
            return self.0.fill_bytes(bytes);
        }
        // Up to the next block as the crate does it, so that whole blocks follow.
        let begun = self.0.get_word_pos() % BLOCK_NUMBERS;
        let head = (BLOCK_NUMBERS - begun) % BLOCK_NUMBERS * size_of::<u32>() as u128;
        let (head, rest) = bytes.split_at_mut(usize::try_from(head).unwrap_or(0));
        self.0.fill_bytes(head);
        let block = self.0.get_word_pos() / BLOCK_NUMBERS;
        let (blocks, tail) = rest.split_at_mut(rest.len() - rest.len() % BLOCK);
        let count = (blocks.len() / BLOCK) as u128;
        // The fast way counts blocks with 32 bits.
        match u32::try_from(block).ok().filter(|_| u32::try_from(block + count).is_ok()) {
            Some(first) => {
                chacha::keystream(&self.0.get_seed(), first, blocks);
                self.0.set_word_pos((block + count) * BLOCK_NUMBERS);
            }
            None => self.0.fill_bytes(blocks),
        }
        self.0.fill_bytes(tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_way_gives_the_numbers_of_the_crate() {
        let (mut ours, mut theirs) = (ChaCha20::new(7), ChaCha20Rng::seed_from_u64(7));
        for length in [0, 4, 1024, 1028, 5, 4096, 60, 1 << 15, 1, 1027, 64, 100_003, 12] {
            let (mut a, mut b) = (vec![0; length], vec![0; length]);
            ours.fill(&mut a);
            theirs.fill_bytes(&mut b);
            assert!(a == b, "{length} bytes");
            assert_eq!(ours.next_u32(), theirs.next_u32());
        }
    }

    #[test]
    fn the_end_of_32_bits_of_blocks_is_passed() {
        let (mut ours, mut theirs) = (ChaCha20::new(1), ChaCha20Rng::seed_from_u64(1));
        for rng in [&mut ours.0, &mut theirs] {
            rng.set_word_pos(((1 << 32) - 40) * BLOCK_NUMBERS + 3);
        }
        for _ in 0..4 {
            let (mut a, mut b) = (vec![0; 2000], vec![0; 2000]);
            ours.fill(&mut a);
            theirs.fill_bytes(&mut b);
            assert!(a == b);
        }
    }
}
