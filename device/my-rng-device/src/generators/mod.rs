// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generators of the seedable stream: reproducible from a seed, no entropy claimed.
//!
//! A new one is a variant of [`Kind`] and of [`Generator`], a line in [`Kind::ALL`], and a `GENERATOR_…` in the interface.

mod chacha20;
mod glibc;
mod xorshift;

use std::fmt;
use std::str::FromStr;

use my_rng_abi::registers as abi;
use rand_chacha::rand_core::{Rng, SeedableRng};
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

/// A seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// That of the register SEED.
    Bits32(u32),
    /// What a longer state or a key is made of.
    Bits64(u64),
    /// A key, or a state with its stream.
    Bits256([u8; 32]),
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

    /// What it takes, as the bits of [`abi::SEED_ABILITIES`].
    pub fn abilities(self) -> u32 {
        let more = match self {
            Self::Glibc => 0,
            Self::Xorshift64Star => abi::SEED_TAKES_64,
            Self::Pcg64 | Self::ChaCha20 => {
                abi::SEED_TAKES_64 | abi::SEED_TAKES_256 | abi::SEED_TAKES_STREAM | abi::SEED_TAKES_SEEK
            }
        };
        abi::SEED_TAKES_32 | more
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
    /// As it was at position 0.
    start: Pcg64,
}

impl Halves {
    fn new(start: Pcg64) -> Self {
        Self { generator: start.clone(), high: None, start }
    }

    fn seek(&mut self, position: u64) {
        *self = Self::new(self.start.clone());
        self.generator.advance(u128::from(position / 2));
        if position % 2 == 1 {
            self.next_u32();
        }
    }

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
            Kind::Xorshift64Star => Self::Xorshift64Star(Xorshift64Star::new(seed.into())),
            Kind::Pcg64 => Self::Pcg64(Halves::new(Pcg64::new(seed.into(), PCG64_STREAM))),
            Kind::ChaCha20 => Self::ChaCha20(ChaCha20::new(seed.into())),
        }
    }

    /// A generator at the start of a stream of that seed, by its number or the one that it has without. `None`: there is
    /// no such thing with this generator ([`Kind::abilities`]).
    pub fn seeded(kind: Kind, seed: Seed, stream: Option<u64>) -> Option<Self> {
        let number = match seed {
            Seed::Bits32(number) => Some(u64::from(number)),
            Seed::Bits64(number) => Some(number),
            Seed::Bits256(_) => None,
        };
        match (kind, seed, number, stream) {
            (_, Seed::Bits32(seed), _, None) => Some(Self::new(kind, seed)),
            (Kind::Xorshift64Star, _, Some(state), None) => {
                Some(Self::Xorshift64Star(Xorshift64Star::new(state)))
            }
            (Kind::Pcg64, _, Some(state), stream) => {
                let stream = stream.map_or(PCG64_STREAM, u128::from);
                Some(Self::Pcg64(Halves::new(Pcg64::new(state.into(), stream))))
            }
            (Kind::Pcg64, Seed::Bits256(seed), _, None) => {
                Some(Self::Pcg64(Halves::new(Pcg64::from_seed(seed))))
            }
            (Kind::ChaCha20, _, Some(seed), stream) => {
                Some(Self::ChaCha20(ChaCha20::new(seed).in_stream(stream.unwrap_or(0))))
            }
            (Kind::ChaCha20, Seed::Bits256(key), _, stream) => {
                Some(Self::ChaCha20(ChaCha20::from_key(key).in_stream(stream.unwrap_or(0))))
            }
            _ => None,
        }
    }

    /// Goes to the number of 32 bits with that position in the stream. `false`: this generator cannot, and stays where it is.
    pub fn seek(&mut self, position: u64) -> bool {
        match self {
            Self::Glibc(_) | Self::Xorshift64Star(_) => return false,
            Self::Pcg64(halves) => halves.seek(position),
            Self::ChaCha20(chacha) => chacha.seek(position),
        }
        true
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

    const SEED_64: u64 = 0x0123_4567_89ab_cdef;

    fn seed_256() -> [u8; 32] {
        std::array::from_fn(|place| place as u8 + 1)
    }

    fn draw(generator: &mut Generator, count: usize) -> Vec<u32> {
        (0..count).map(|_| generator.next_u32()).collect()
    }

    /// What `rand_pcg` and `rand_chacha` give after the same is done to them.
    #[test]
    fn long_seeds_and_streams_are_those_of_the_reference() {
        let halves = |mut pcg: Pcg64| -> Vec<u32> {
            (0..50)
                .map(|_| pcg.next_u64())
                .flat_map(|output| [output as u32, (output >> 32) as u32])
                .collect()
        };
        let words = |mut chacha: rand_chacha::ChaCha20Rng, stream: u64| -> Vec<u32> {
            chacha.set_stream(stream);
            (0..100).map(|_| chacha.next_u32()).collect()
        };
        let chacha = rand_chacha::ChaCha20Rng::seed_from_u64;
        let keyed = || rand_chacha::ChaCha20Rng::from_seed(seed_256());
        let (short, long, wide) = (Seed::Bits32(42), Seed::Bits64(SEED_64), Seed::Bits256(seed_256()));
        let cases = [
            (Kind::Pcg64, short, Some(7), halves(Pcg64::new(42, 7))),
            (Kind::Pcg64, long, None, halves(Pcg64::new(SEED_64.into(), 54))),
            (Kind::Pcg64, long, Some(u64::MAX), halves(Pcg64::new(SEED_64.into(), u64::MAX.into()))),
            (Kind::Pcg64, wide, None, halves(Pcg64::from_seed(seed_256()))),
            (Kind::ChaCha20, short, Some(7), words(chacha(42), 7)),
            (Kind::ChaCha20, long, None, words(chacha(SEED_64), 0)),
            (Kind::ChaCha20, long, Some(9), words(chacha(SEED_64), 9)),
            (Kind::ChaCha20, wide, None, words(keyed(), 0)),
            (Kind::ChaCha20, wide, Some(u64::MAX), words(keyed(), u64::MAX)),
        ];
        for (kind, seed, stream, expected) in cases {
            let mut generator = Generator::seeded(kind, seed, stream).unwrap();
            assert_eq!(draw(&mut generator, 100), expected, "{kind}, {seed:?}, {stream:?}");
        }
    }

    /// Numbers of a program that has nothing in common with this one, in Python.
    #[test]
    fn long_seeds_give_known_numbers() {
        let key: [u8; 32] = std::array::from_fn(|place| place as u8);
        for (kind, seed, stream, position, numbers) in [
            (Kind::Pcg64, Seed::Bits64(SEED_64), None, 0, [2_809_034_599_u32, 3_215_087_541, 903_340_992]),
            (Kind::Pcg64, Seed::Bits64(SEED_64), Some(7), 5, [3_160_063_086, 37_012_582, 1_783_286_338]),
            (Kind::Pcg64, Seed::Bits256(key), None, 0, [303_284_566, 2_383_317_629, 3_910_099_483]),
            (Kind::ChaCha20, Seed::Bits256(key), None, 0, [2_100_034_873, 1_780_073_945, 1_996_733_837]),
            (
                Kind::ChaCha20,
                Seed::Bits256(key),
                Some(9),
                1_000_003,
                [3_839_071_782, 206_791_398, 1_187_086_462],
            ),
        ] {
            let mut generator = Generator::seeded(kind, seed, stream).unwrap();
            assert!(generator.seek(position));
            assert_eq!(draw(&mut generator, 3), numbers, "{kind}, {seed:?}, {stream:?}, {position}");
        }
    }

    /// The steps as its author's paper has them.
    #[test]
    fn a_seed_of_64_bits_is_xorshifts_state() {
        let mut state = SEED_64;
        let mut generator = Generator::seeded(Kind::Xorshift64Star, Seed::Bits64(SEED_64), None).unwrap();
        for _ in 0..20 {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let output = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
            assert_eq!(generator.next_u32(), (output >> 32) as u32);
        }
    }

    #[test]
    fn a_seed_of_32_bits_is_the_classic_one() {
        for (kind, name, _) in Kind::ALL {
            for seed in [0, 1, 42, u32::MAX] {
                let seeded = Generator::seeded(*kind, Seed::Bits32(seed), None).unwrap();
                assert_eq!(seeded, Generator::new(*kind, seed), "{name}");
                if let Some(mut long) = Generator::seeded(*kind, Seed::Bits64(seed.into()), None) {
                    assert_eq!(draw(&mut long, 10), draw(&mut Generator::new(*kind, seed), 10), "{name}");
                }
            }
        }
    }

    #[test]
    fn what_a_generator_takes_is_what_it_says() {
        for (kind, name, _) in Kind::ALL {
            let can = |seed, stream| Generator::seeded(*kind, seed, stream).is_some();
            let (short, long, wide) = (Seed::Bits32(1), Seed::Bits64(1), Seed::Bits256([1; 32]));
            let bits = [
                (abi::SEED_TAKES_32, can(short, None)),
                (abi::SEED_TAKES_64, can(long, None)),
                (abi::SEED_TAKES_256, can(wide, None)),
                (abi::SEED_TAKES_STREAM, can(short, Some(1)) && can(long, Some(1))),
                (abi::SEED_TAKES_SEEK, Generator::new(*kind, 1).seek(5)),
            ];
            let found = bits.iter().filter(|(_, can)| *can).fold(0, |all, (bit, _)| all | bit);
            assert_eq!(found, kind.abilities(), "{name}");
        }
        assert!(
            Generator::seeded(Kind::Pcg64, Seed::Bits256([1; 32]), Some(1)).is_none(),
            "it has one in it"
        );
    }

    #[test]
    fn a_position_is_that_of_the_number_drawn_there() {
        for (kind, seed, stream) in [
            (Kind::Pcg64, Seed::Bits32(42), None),
            (Kind::Pcg64, Seed::Bits256(seed_256()), None),
            (Kind::ChaCha20, Seed::Bits64(SEED_64), Some(3)),
            (Kind::ChaCha20, Seed::Bits32(1), None),
        ] {
            let mut generator = Generator::seeded(kind, seed, stream).unwrap();
            let all = draw(&mut generator, 5000);
            for position in [0_usize, 1, 2, 3, 15, 16, 17, 63, 64, 999, 4000, 7] {
                assert!(generator.seek(position as u64));
                let count = 900.min(all.len() - position);
                assert_eq!(draw(&mut generator, 20), all[position..position + 20], "{kind}, {position}");
                assert!(generator.seek(position as u64));
                let mut bytes = vec![0; 4 * count];
                generator.fill(&mut bytes);
                let filled: Vec<u32> =
                    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
                assert_eq!(filled, all[position..position + count], "{kind}, {position}");
            }
        }
    }

    #[test]
    fn the_last_position_is_one() {
        let mut reference = rand_chacha::ChaCha20Rng::seed_from_u64(5);
        reference.set_word_pos(u64::MAX.into());
        let mut chacha = Generator::new(Kind::ChaCha20, 5);
        assert!(chacha.seek(u64::MAX));
        assert_eq!(draw(&mut chacha, 40), (0..40).map(|_| reference.next_u32()).collect::<Vec<_>>());
        let mut pcg = Pcg64::new(5, 54);
        pcg.advance(u128::from(u64::MAX / 2));
        let last = (pcg.next_u64() >> 32) as u32;
        let mut generator = Generator::new(Kind::Pcg64, 5);
        assert!(generator.seek(u64::MAX));
        assert_eq!(generator.next_u32(), last);
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
