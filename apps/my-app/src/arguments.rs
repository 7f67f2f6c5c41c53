// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `my-app`.

use std::path::PathBuf;

use lexopt::prelude::*;
use my_rng_client::Seed;

pub(crate) const HELP: &str = "\
Draws rounds of numbers from a my_rng device. The device is reseeded before each
round, so all rounds must be equal.

Usage: my-app [OPTIONS]

Options:
  --seed N       seed before each round: 0 to 4294967295, or 0x and up to 8 hex
                 digits; 0x and 9 to 16 for a seed of 64 bits; 0x and 64, the
                 bytes in their order, for one of 256 bits [default: 1]
  --stream N     number of the seed's stream, 0 to 18446744073709551615
  --seek N       start each round at the number with that position; the first
                 one's is 0
  --rounds N     number of rounds [default: 2]
  --numbers N    numbers in each round [default: 5]
  --device PATH  device node [default: /dev/my_rng_driver]
  --version      print the version
  --help         print this text

Ends with 0 if all rounds were equal, 1 if they differed or the device failed,
2 if the command line was wrong. What a generator does not take is an error;
glibc's takes seeds of 32 bits alone.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Run(Arguments),
    Help,
    Version,
}

/// The options of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) seed: Seed,
    pub(crate) stream: Option<u64>,
    pub(crate) seek: Option<u64>,
    pub(crate) rounds: u32,
    pub(crate) numbers: u32,
    pub(crate) device: PathBuf,
}

impl Arguments {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
        let mut arguments = Self {
            seed: Seed::Bits32(1),
            stream: None,
            seek: None,
            rounds: 2,
            numbers: 5,
            device: my_rng_client::FIRST_DEVICE.into(),
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("seed") => arguments.seed = parser.value()?.parse_with(parse_seed)?,
                Long("stream") => arguments.stream = Some(parser.value()?.parse()?),
                Long("seek") => arguments.seek = Some(parser.value()?.parse()?),
                Long("rounds") => arguments.rounds = parser.value()?.parse()?,
                Long("numbers") => arguments.numbers = parser.value()?.parse()?,
                Long("device") => arguments.device = parser.value()?.into(),
                Long("version") | Short('V') => return Ok(Action::Version),
                Long("help") | Short('h') => return Ok(Action::Help),
                other => return Err(other.unexpected()),
            }
        }
        Ok(Action::Run(arguments))
    }
}

/// Digits of a seed of 256 bits.
const KEY_DIGITS: usize = 64;

/// A seed, whose length the number of its digits tells.
fn parse_seed(text: &str) -> Result<Seed, String> {
    const EXPECTED: &str = "expected 0 to 4294967295, or 0x and 1 to 16 or 64 hexadecimal digits";
    let wrong = || format!("{text:?} is no seed, {EXPECTED}");
    let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        return text.parse().map(Seed::Bits32).map_err(|_| wrong());
    };
    // `from_str_radix` would take a sign.
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    match digits.len() {
        1..=8 => u32::from_str_radix(digits, 16).map(Seed::Bits32).map_err(|_| wrong()),
        9..=16 => u64::from_str_radix(digits, 16).map(Seed::Bits64).map_err(|_| wrong()),
        KEY_DIGITS => {
            let mut bytes = [0; KEY_DIGITS / 2];
            for (place, byte) in bytes.iter_mut().enumerate() {
                let pair = digits.get(2 * place..2 * place + 2).ok_or_else(wrong)?;
                *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
            }
            Ok(Seed::Bits256(bytes))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Action, lexopt::Error> {
        Arguments::parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn without_options_there_are_two_rounds_of_five_after_seed_1() {
        let Action::Run(arguments) = parse(&[]).unwrap() else { panic!("this is a run") };
        assert_eq!((arguments.seed, arguments.rounds, arguments.numbers), (Seed::Bits32(1), 2, 5));
        assert_eq!((arguments.stream, arguments.seek), (None, None));
        assert_eq!(arguments.device, PathBuf::from("/dev/my_rng_driver"));
    }

    #[test]
    fn every_option_is_taken() {
        let words = ["--seed", "42", "--rounds=3", "--numbers", "7", "--device=/dev/my_rng1"];
        let words = [&words[..], &["--stream", "7", "--seek=18446744073709551615"]].concat();
        let expected = Arguments {
            seed: Seed::Bits32(42),
            stream: Some(7),
            seek: Some(u64::MAX),
            rounds: 3,
            numbers: 7,
            device: "/dev/my_rng1".into(),
        };
        assert_eq!(parse(&words).unwrap(), Action::Run(expected));
        assert_eq!(parse(&["--seed", "x", "--help"]).map_err(|_| ()), Err(()));
        assert_eq!(parse(&["--help"]).unwrap(), Action::Help);
    }

    #[test]
    fn a_seed_has_as_many_bits_as_its_digits_say() {
        let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        for (text, seed) in [
            ("4294967295", Seed::Bits32(u32::MAX)),
            ("0x1", Seed::Bits32(1)),
            ("0XdeadBEEF", Seed::Bits32(0xdead_beef)),
            ("0x000000001", Seed::Bits64(1)),
            ("0x0123456789abcdef", Seed::Bits64(0x0123_4567_89ab_cdef)),
            (&format!("0x{key}"), Seed::Bits256(std::array::from_fn(|place| place as u8))),
        ] {
            assert_eq!(parse_seed(text), Ok(seed), "{text}");
        }
        let long = format!("0x{key}0");
        for text in ["0x", "0x0123456789abcdef0", &long, &long[..65], "0x+1", "0xg", "", "-1", key] {
            assert!(parse_seed(text).unwrap_err().contains("expected"), "{text}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for words in [&["--seed", "-1"][..], &["--seed", "4294967296"], &["--sed", "1"], &["1"], &["--seed"]]
        {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_help_fits_a_terminal() {
        assert!(HELP.lines().all(|line| line.chars().count() <= 80));
    }
}
