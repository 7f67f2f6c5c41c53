// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `device-bench`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use my_rng_abi::registers::{
    GENERATOR_CHACHA20, GENERATOR_GLIBC, GENERATOR_PCG64, GENERATOR_XORSHIFT64_STAR,
};

use crate::dump::Way;

pub(crate) const HELP: &str = "\
Measures how fast the my_rng device fills memory with the entropy stream, in
bytes per second of its own processor time, without a virtual machine.

Usage: device-bench [OPTIONS] DEVICE
       device-bench --dump WAY --bytes N DEVICE

DEVICE is the program my-rng-device.

Options:
  --runs N      times that is measured; the median is shown [default: 5]
  --window MS   length of one measurement in milliseconds [default: 400]
  --json        print the figure as JSON
  --dump WAY    measure nothing, but write random bytes to stdout: one-shot, or
                registers:G for the generator G (glibc, xorshift64star, pcg64,
                chacha20)
  --bytes N     how many
  --help        print this text
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Run(Arguments),
    Dump { device: PathBuf, way: Way, bytes: u64 },
    Help,
}

/// The options of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) device: PathBuf,
    pub(crate) runs: u32,
    pub(crate) window: Duration,
    pub(crate) json: bool,
}

impl Arguments {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
        let (mut device, mut runs, mut window, mut json) = (None, 5, 400, false);
        let (mut way, mut bytes) = (None, None);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("runs") => runs = parser.value()?.parse::<NonZeroU32>()?.get(),
                Long("window") => window = parser.value()?.parse::<NonZeroU32>()?.get(),
                Long("json") => json = true,
                Long("dump") => way = Some(parser.value()?.parse_with(way_of)?),
                Long("bytes") => bytes = Some(parser.value()?.parse()?),
                Long("help") | Short('h') => return Ok(Action::Help),
                Value(path) if device.is_none() => device = Some(path.into()),
                other => return Err(other.unexpected()),
            }
        }
        let device = device.ok_or("the path of the program my-rng-device is missing")?;
        if let Some(way) = way {
            return Ok(Action::Dump { device, way, bytes: bytes.ok_or("--bytes is missing")? });
        }
        Ok(Action::Run(Self { device, runs, window: Duration::from_millis(window.into()), json }))
    }
}

fn way_of(text: &str) -> Result<Way, String> {
    let generator = match text {
        "one-shot" => return Ok(Way::OneShot),
        "registers:glibc" => GENERATOR_GLIBC,
        "registers:xorshift64star" => GENERATOR_XORSHIFT64_STAR,
        "registers:pcg64" => GENERATOR_PCG64,
        "registers:chacha20" => GENERATOR_CHACHA20,
        _ => return Err("expected one-shot or registers:GENERATOR".to_owned()),
    };
    Ok(Way::Registers(generator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Action, String> {
        Arguments::parse(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_taken_and_mistakes_refused() {
        let expected =
            Arguments { device: "/d".into(), runs: 2, window: Duration::from_millis(30), json: true };
        assert_eq!(parse(&["--runs", "2", "/d", "--window=30", "--json"]), Ok(Action::Run(expected)));
        for wrong in [&[][..], &["a", "b"], &["a", "--runs", "0"], &["a", "--window", "x"], &["a", "--fast"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        let dump = Action::Dump { device: "/d".into(), way: Way::OneShot, bytes: 8 };
        assert_eq!(parse(&["--dump", "one-shot", "--bytes", "8", "/d"]), Ok(dump));
        assert!(parse(&["--dump", "one-shot", "/d"]).is_err());
        assert!(parse(&["--dump", "registers:dice", "--bytes", "8", "/d"]).is_err());
    }
}
