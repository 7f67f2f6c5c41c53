// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `my-app`.

use std::path::PathBuf;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
Draws rounds of numbers from a my_rng device. The device is reseeded before each
round, so all rounds must be equal.

Usage: my-app [OPTIONS]

Options:
  --seed N       seed before each round, 0 to 4294967295 [default: 1]
  --rounds N     number of rounds [default: 2]
  --numbers N    numbers in each round [default: 5]
  --device PATH  device node [default: /dev/my_rng_driver]
  --version      print the version
  --help         print this text

Ends with 0 if all rounds were equal, 1 if they differed or the device failed,
2 if the command line was wrong.
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
    pub(crate) seed: u32,
    pub(crate) rounds: u32,
    pub(crate) numbers: u32,
    pub(crate) device: PathBuf,
}

impl Arguments {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
        let mut arguments =
            Self { seed: 1, rounds: 2, numbers: 5, device: my_rng_client::FIRST_DEVICE.into() };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("seed") => arguments.seed = parser.value()?.parse()?,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Action, lexopt::Error> {
        Arguments::parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn without_options_there_are_two_rounds_of_five_after_seed_1() {
        let Action::Run(arguments) = parse(&[]).unwrap() else { panic!("this is a run") };
        assert_eq!((arguments.seed, arguments.rounds, arguments.numbers), (1, 2, 5));
        assert_eq!(arguments.device, PathBuf::from("/dev/my_rng_driver"));
    }

    #[test]
    fn every_option_is_taken() {
        let words = ["--seed", "42", "--rounds=3", "--numbers", "7", "--device=/dev/my_rng1"];
        let expected = Arguments { seed: 42, rounds: 3, numbers: 7, device: "/dev/my_rng1".into() };
        assert_eq!(parse(&words).unwrap(), Action::Run(expected));
        assert_eq!(parse(&["--seed", "x", "--help"]).map_err(|_| ()), Err(()));
        assert_eq!(parse(&["--help"]).unwrap(), Action::Help);
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
