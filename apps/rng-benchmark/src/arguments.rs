// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `rng-benchmark`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
Checks that a my_rng device gives the right numbers, then measures how fast a
program gets them by ioctl, 32 and 64 bits at a time.

Usage: rng-benchmark [OPTIONS]

Options:
  --count N      draws of each width, all runs together [default: 1000000]
  --count32 N    32-bit draws, instead of --count
  --count64 N    64-bit draws, instead of --count
  --runs N       runs that the draws are spread over; the median is shown
                 [default: 5]
  --device PATH  device node [default: /dev/my_rng_driver]
  --json         print the figures as JSON and nothing else
  --version      print the version
  --help         print this text

Ends with 0 if all went well, 1 if a number was wrong or the device failed,
2 if the command line was wrong.
";

const DEFAULT_COUNT: u32 = 1_000_000;

/// Medians are of at least five.
const DEFAULT_RUNS: u32 = 5;

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
    pub(crate) count32: u32,
    pub(crate) count64: u32,
    pub(crate) runs: u32,
    pub(crate) device: PathBuf,
    pub(crate) json: bool,
}

impl Arguments {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
        let (mut count, mut count32, mut count64) = (DEFAULT_COUNT, None, None);
        let mut runs = DEFAULT_RUNS;
        let mut device = PathBuf::from(my_rng_client::FIRST_DEVICE);
        let mut json = false;
        while let Some(argument) = parser.next()? {
            match argument {
                Long("count") => count = positive(&mut parser)?,
                Long("count32") => count32 = Some(positive(&mut parser)?),
                Long("count64") => count64 = Some(positive(&mut parser)?),
                Long("runs") => runs = positive(&mut parser)?,
                Long("device") => device = parser.value()?.into(),
                Long("json") => json = true,
                Long("version") | Short('V') => return Ok(Action::Version),
                Long("help") | Short('h') => return Ok(Action::Help),
                other => return Err(other.unexpected()),
            }
        }
        let (count32, count64) = (count32.unwrap_or(count), count64.unwrap_or(count));
        if runs > count32.min(count64) {
            return Err(format!("--runs {runs} is more than there are draws").into());
        }
        Ok(Action::Run(Self { count32, count64, runs, device, json }))
    }
}

fn positive(parser: &mut lexopt::Parser) -> Result<u32, lexopt::Error> {
    Ok(parser.value()?.parse::<NonZeroU32>()?.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Action, String> {
        Arguments::parse(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())
    }

    #[test]
    fn without_options_a_million_of_each_is_drawn() {
        let Action::Run(arguments) = parse(&[]).unwrap() else { panic!("this is a run") };
        assert_eq!((arguments.count32, arguments.count64, arguments.runs), (1_000_000, 1_000_000, 5));
        assert_eq!((arguments.device, arguments.json), (PathBuf::from("/dev/my_rng_driver"), false));
    }

    #[test]
    fn every_option_is_taken() {
        let words = ["--count64", "30", "--count=50", "--runs", "3", "--json", "--device", "/dev/my_rng1"];
        let expected =
            Arguments { count32: 50, count64: 30, runs: 3, device: "/dev/my_rng1".into(), json: true };
        assert_eq!(parse(&words), Ok(Action::Run(expected)));
        let Ok(Action::Run(arguments)) = parse(&["--count32", "9"]) else { panic!("this is a run") };
        assert_eq!((arguments.count32, arguments.count64), (9, 1_000_000));
        assert_eq!(parse(&["-h"]), Ok(Action::Help));
    }

    #[test]
    fn mistakes_are_refused() {
        for words in [&["--count", "0"][..], &["--count", "many"], &["--runs", "-1"], &["x"], &["--fast"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert_eq!(parse(&["--count", "4"]), Err("--runs 5 is more than there are draws".to_owned()));
    }

    #[test]
    fn the_help_fits_a_terminal() {
        assert!(HELP.lines().all(|line| line.chars().count() <= 80));
    }
}
