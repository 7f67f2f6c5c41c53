// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generators of the seedable stream: reproducible from a 32-bit seed, no entropy claimed.
//!
//! A new one is a variant of [`Kind`] and of [`Generator`], a line in [`Kind::ALL`], and a `GENERATOR_…` in the interface.

mod chacha20;
mod glibc;
mod xorshift;

use std::fmt;
use std::str::FromStr;

use my_rng_abi::registers as abi;
use rand_chacha::rand_core::Rng;
use rand_pcg::Pcg64;
use thiserror::Error;

pub use chacha20::ChaCha20;
pub use glibc::Glibc;
pub use xorshift::Xorshift64Star;

/// The stream (PCG's word for the increment) of [`Kind::Pcg64`]: that of its author's demonstration program, so that
/// seed 42 gives the numbers that it prints.
const PCG64_STREAM: u128 = 54;

/// Which generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// glibc's `rand()`, bit for bit. 31 random bits in each number.
    #[default]
    Glibc,
    /// xorshift64*, the upper 32 bits of each output; its first state is the seed.
    Xorshift64Star,
    /// PCG XSL RR 128/64, the low half of each output first; its first state is the seed, its stream 54.
    Pcg64,
    /// ChaCha20, keyed from the seed as `rand_chacha::ChaCha20Rng::seed_from_u64`.
    ChaCha20,
}

/// A name that no generator has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no generator {0:?}, expected one of: {names}", names = Kind::all_names())]
pub struct UnknownGenerator(String);

impl Kind {
    /// Every generator, its name on the command line and its number in the register.
    pub const ALL: &[(Self, &'static str, u32)] = &[
        (Self::Glibc, "glibc", abi::GENERATOR_GLIBC),
        (Self::Xorshift64Star, "xorshift64star", abi::GENERATOR_XORSHIFT64_STAR),
        (Self::Pcg64, "pcg64", abi::GENERATOR_PCG64),
        (Self::ChaCha20, "chacha20", abi::GENERATOR_CHACHA20),
    ];

    /// The generator with that number in the register.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().find(|(_, _, known)| *known == number).map(|(kind, _, _)| *kind)
    }

    /// Its number in the register.
    pub fn number(self) -> u32 {
        Self::ALL.iter().find(|(kind, _, _)| *kind == self).map_or(u32::MAX, |(_, _, number)| *number)
    }

    fn all_names() -> String {
        Self::ALL.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _, _)| kind == self).map_or("unnamed", |(_, name, _)| name);
        formatter.write_str(name)
    }
}

impl FromStr for Kind {
    type Err = UnknownGenerator;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(_, known, _)| *known == name);
        found.map(|(kind, _, _)| *kind).ok_or_else(|| UnknownGenerator(name.to_owned()))
    }
}

/// A seeded generator of some kind. An enum rather than a trait object: it lives without an allocation, and many numbers
/// are drawn without an indirect call for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Generator {
    /// See [`Kind::Glibc`].
    Glibc(Glibc),
    /// See [`Kind::Xorshift64Star`].
    Xorshift64Star(Xorshift64Star),
    /// See [`Kind::Pcg64`].
    Pcg64(Halves),
    /// See [`Kind::ChaCha20`].
    ChaCha20(ChaCha20),
}

/// PCG64's 64-bit outputs, in halves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halves {
    generator: Pcg64,
    /// The high half of the last output, unless it was given out.
    high: Option<u32>,
}

impl Halves {
    fn next_u32(&mut self) -> u32 {
        self.high.take().unwrap_or_else(|| {
            let output = self.generator.next_u64();
            self.high = Some((output >> 32) as u32);
            output as u32 // The low half is meant.
        })
    }
}

impl Generator {
    /// A generator at the start of the stream of `seed`.
    pub fn new(kind: Kind, seed: u32) -> Self {
        match kind {
            Kind::Glibc => Self::Glibc(Glibc::new(seed)),
            Kind::Xorshift64Star => Self::Xorshift64Star(Xorshift64Star::new(seed)),
            Kind::Pcg64 => {
                Self::Pcg64(Halves { generator: Pcg64::new(seed.into(), PCG64_STREAM), high: None })
            }
            Kind::ChaCha20 => Self::ChaCha20(ChaCha20::new(seed.into())),
        }
    }

    /// The next number.
    pub fn next_u32(&mut self) -> u32 {
        match self {
            Self::Glibc(glibc) => glibc.next_u32(),
            Self::Xorshift64Star(xorshift) => xorshift.next_u32(),
            Self::Pcg64(halves) => halves.next_u32(),
            Self::ChaCha20(chacha) => chacha.next_u32(),
        }
    }

    /// The next two numbers, the first of them in the high half.
    pub fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.next_u32());
        (high << 32) | u64::from(self.next_u32())
    }

    /// Fills `bytes` with the next numbers, each with its low byte first. If 4 does not divide the length, the end is the
    /// low bytes of a number whose other bytes are dropped.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        match self {
            Self::Glibc(glibc) => fill(bytes, || glibc.next_u32()),
            Self::Xorshift64Star(xorshift) => fill(bytes, || xorshift.next_u32()),
            Self::Pcg64(halves) => fill(bytes, || halves.next_u32()),
            Self::ChaCha20(chacha) => chacha.fill(bytes),
        }
    }
}

fn fill(bytes: &mut [u8], mut next: impl FnMut() -> u32) {
    let mut words = bytes.chunks_exact_mut(size_of::<u32>());
    for word in &mut words {
        word.copy_from_slice(&next().to_le_bytes());
    }
    let rest = words.into_remainder();
    if !rest.is_empty() {
        rest.iter_mut().zip(next().to_le_bytes()).for_each(|(to, from)| *to = from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_number_is_read_back_as_its_generator() {
        for (kind, name, number) in Kind::ALL {
            assert_eq!(name.parse(), Ok(*kind));
            assert_eq!(kind.to_string(), *name);
            assert_eq!((Kind::from_number(*number), kind.number()), (Some(*kind), *number));
        }
        assert_eq!(Kind::from_number(Kind::ALL.len() as u32), None);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "glibx".parse::<Kind>().unwrap_err();
        let expected =
            "there is no generator \"glibx\", expected one of: glibc, xorshift64star, pcg64, chacha20";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn the_first_draw_is_the_high_half() {
        let mut generator = Generator::new(Kind::Glibc, 1);
        assert_eq!(generator.next_u64(), (1_804_289_383 << 32) | 846_930_886);
        assert_eq!(generator.next_u32(), 1_681_692_777, "two numbers were taken");
    }

    /// What the author's demonstration program prints for pcg64 (state 42, stream 54), in its first round.
    #[test]
    fn seed_42_of_pcg64_gives_the_numbers_of_its_demonstration() {
        let mut generator = Generator::new(Kind::Pcg64, 42);
        for known in [0x86b1_da1d_7206_2b68_u64, 0x1304_aa46_c985_3d39, 0xa367_0e9e_0dd5_0358] {
            let (low, high) = (generator.next_u32(), generator.next_u32());
            assert_eq!((u64::from(high) << 32) | u64::from(low), known);
        }
    }

    /// The keystream for a key and a nonce of zeros (RFC 8439, appendix A.1, test vectors 1 and 2).
    #[test]
    fn chacha20_is_that_of_the_rfc() {
        let mut generator = Generator::ChaCha20(ChaCha20::from_key([0; 32]));
        let numbers = [(); 32].map(|()| generator.next_u32());
        assert_eq!(numbers[..4], [0xade0_b876, 0x903d_f1a0, 0xe56a_5d40, 0x28bd_8653]);
        assert_eq!(numbers[14..18], [0x69b6_87c3, 0x8665_eeb2, 0xbee7_079f, 0x7a38_5155]);
        assert_eq!(numbers[31], 0x6f4d_794b);
    }

    #[test]
    fn bytes_are_the_numbers_with_the_low_byte_first() {
        for (kind, name, _) in Kind::ALL {
            let (mut filled, mut drawn) = (Generator::new(*kind, 7), Generator::new(*kind, 7));
            let mut bytes = [0; 1030];
            filled.fill(&mut bytes);
            for (place, word) in bytes.chunks(4).enumerate() {
                assert_eq!(drawn.next_u32().to_le_bytes()[..word.len()], *word, "{name}, number {place}");
            }
            assert_eq!(filled.next_u32(), drawn.next_u32(), "{name}: what was cut off is dropped");
        }
    }
}
