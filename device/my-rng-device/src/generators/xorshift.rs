// SPDX-License-Identifier: MIT OR Apache-2.0
//! xorshift64*, with the upper 32 bits of each output.
//!
//! Source: S. Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", ACM Transactions on
//! Mathematical Software 42 (4), 2016: shifts 12, 25, 27 and the multiplier M₃₂ of its table. The crates of the rand
//! project have the xoshiro generators that followed it, and not this one.

/// The multiplier.
const MULTIPLIER: u64 = 0x2545_f491_4f6c_dd1d;

/// xorshift64*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xorshift64Star {
    /// Never 0, which would stay 0.
    state: u64,
}

impl Xorshift64Star {
    /// A generator whose state is the seed. Seed 0 is the same as seed 1, as with glibc's `rand()`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed.max(1) }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(MULTIPLIER) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published at Rosetta Code, "Pseudo-random numbers/Xorshift star": the first numbers from state 1234567, and how
    /// often floor(number × 5 / 2³²) is 0 to 4 in 100000 numbers from state 987654321.
    #[test]
    fn numbers_are_the_published_ones() {
        let mut generator = Xorshift64Star::new(1_234_567);
        let first = [(); 5].map(|()| generator.next_u32());
        assert_eq!(first, [3_540_625_527, 2_750_739_987, 4_037_983_143, 1_993_361_440, 3_809_424_708]);

        let mut generator = Xorshift64Star::new(987_654_321);
        let mut counts = [0; 5];
        for _ in 0..100_000 {
            counts[((u64::from(generator.next_u32()) * 5) >> 32) as usize] += 1;
        }
        assert_eq!(counts, [20_103, 19_922, 19_937, 20_031, 20_007]);
    }

    #[test]
    fn seed_zero_is_seed_one() {
        assert_eq!(Xorshift64Star::new(0), Xorshift64Star::new(1));
    }
}
