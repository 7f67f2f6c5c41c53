// SPDX-License-Identifier: MIT OR Apache-2.0
//! The GNU C library's `rand()` and `srand()`, bit for bit.
//!
//! Its default generator is an additive feedback generator with the trinomial x^31 + x^3 + 1: each word is the sum of
//! the words 3 and 31 steps back, modulo 2^32, and the number that comes out is that without its lowest bit, which
//! is the least random. (In the C library: "TYPE_3"; D. E. Knuth, The Art of Computer Programming, volume 2, section
//! 3.2.2, algorithm A.) The first 31 words come from the seed by the multiplicative congruential generator of Park and
//! Miller, and 310 numbers are thrown away.

/// Words of state: the degree of the trinomial.
const DEGREE: usize = 31;
/// The shorter lag.
const SEPARATION: usize = 3;
/// Numbers thrown away after seeding.
const DISCARDED: usize = 10 * DEGREE;

/// Park and Miller's multiplier.
const MULTIPLIER: i64 = 16_807;
/// Park and Miller's modulus, 2^31 − 1.
const MODULUS: i64 = 0x7fff_ffff;

/// `rand()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glibc {
    words: [u32; DEGREE],
    /// The word that is oldest now and is replaced next; always below [`DEGREE`].
    oldest: usize,
}

impl Glibc {
    /// The state after `srand(seed)`. Seed 0 is the same as seed 1.
    pub fn new(seed: u32) -> Self {
        // The C library keeps the word signed, and takes the remainder towards zero: a word that is negative (only the
        // seed itself can be) leaves a negative remainder, to which the modulus is added once.
        let mut word = i64::from(seed.max(1) as i32);
        let words = std::array::from_fn(|place| {
            if place > 0 {
                word = word * MULTIPLIER % MODULUS;
                if word < 0 {
                    word += MODULUS;
                }
            }
            word as u32 // The low 32 bits are meant: the seed may be negative.
        });
        // The C library takes words 0 to 2 once more before it begins, so that word 3 is the oldest.
        let mut new = Self { words, oldest: SEPARATION };
        for _ in 0..DISCARDED {
            new.next_u32();
        }
        new
    }

    /// `rand()`: 31 random bits, so that the highest bit is always 0.
    #[expect(clippy::indexing_slicing, reason = "both places are remainders by the array's length")]
    pub fn next_u32(&mut self) -> u32 {
        let newer = (self.oldest + DEGREE - SEPARATION) % DEGREE;
        let sum = self.words[self.oldest].wrapping_add(self.words[newer]);
        self.words[self.oldest] = sum;
        self.oldest = (self.oldest + 1) % DEGREE;
        sum >> 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each seed what glibc 2.36's `rand()` gives: the first five numbers, the 10000th, and numbers 6 to 10000 folded
    /// into one (times 31, plus the next, modulo 2^64).
    #[test]
    fn numbers_are_those_of_the_c_library() {
        let known: [(u32, [u32; 5], u32, u64); 12] = [
            (0, [1804289383, 846930886, 1681692777, 1714636915, 1957747793], 1908609430, 0x662e6eceef140087),
            (
                0x1,
                [1804289383, 846930886, 1681692777, 1714636915, 1957747793],
                1908609430,
                0x662e6eceef140087,
            ),
            (0x2, [1505335290, 1738766719, 190686788, 260874575, 747983061], 404926418, 0x88d2cf420e48b2a2),
            (0x2a, [71876166, 708592740, 1483128881, 907283241, 442951012], 48510282, 0x4cb9a8af0bffb770),
            (
                0x3e8,
                [766020790, 1182770779, 1333893513, 173226398, 1071903604],
                1825680166,
                0x68b424524db7366e,
            ),
            (
                0x7ffffffe,
                [1320593690, 1199968952, 1432693999, 317934276, 69604050],
                23232044,
                0x641dcbac562cc9da,
            ),
            (
                0x7fffffff,
                [1065668062, 2142264300, 1066566375, 1064012770, 2141034222],
                1070115311,
                0xa879f44a002926d6,
            ),
            (
                0x80000000,
                [1336741213, 1210407648, 1447044896, 337392383, 82502902],
                30485069,
                0xc7c8a18253206335,
            ),
            (
                0x80000001,
                [1081815585, 5219348, 1080917272, 1083470877, 6449426],
                1077368336,
                0x90325fecfd1cc031,
            ),
            (
                0xdeadbeef,
                [352217057, 918588210, 499345174, 513054021, 248820349],
                1078461777,
                0x4e8d5063f3214fe8,
            ),
            (
                0xfffffffe,
                [553879721, 313352468, 1857133612, 707683845, 1285818207],
                456799744,
                0x1b4d15169daf9d02,
            ),
            (
                0xffffffff,
                [254925627, 1205188300, 366127624, 1401405153, 76053476],
                1100600380,
                0xbab0a887776a82c3,
            ),
        ];
        for (seed, first, last, folded) in known {
            let mut generator = Glibc::new(seed);
            assert_eq!(first.map(|_| generator.next_u32()), first, "seed {seed:#x}");
            let rest: Vec<u32> = (5..10_000).map(|_| generator.next_u32()).collect();
            assert_eq!(rest.last(), Some(&last), "seed {seed:#x}");
            let fold = rest.iter().fold(0_u64, |fold, &next| fold.wrapping_mul(31).wrapping_add(next.into()));
            assert_eq!(fold, folded, "seed {seed:#x}");
        }
    }

    #[test]
    fn seed_zero_is_seed_one() {
        assert_eq!(Glibc::new(0), Glibc::new(1));
        assert_ne!(Glibc::new(2), Glibc::new(1));
    }

    #[test]
    fn the_highest_bit_is_never_set() {
        let mut generator = Glibc::new(12_345);
        assert!((0..10_000).all(|_| generator.next_u32() <= i32::MAX as u32));
    }
}
