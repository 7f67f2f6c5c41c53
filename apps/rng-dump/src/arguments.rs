// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `rng-dump`.

use std::path::PathBuf;

use lexopt::prelude::*;
use my_rng_client::FIRST_DEVICE;

pub(crate) const HELP: &str = "\
Writes random bytes of a my_rng device to stdout.

Usage: rng-dump [OPTIONS] --bytes N WAY

WAY:
  ioctl   the seedable stream, a call for each 32-bit number
  read    the entropy stream, by read(2)
  mmap    the entropy stream, out of a mapped queue

Options:
  --bytes N       how many
  --device PATH   device node [default: /dev/my_rng_driver]
  --version       print the version
  --help          print this text
";

/// How the bytes are got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Ioctl,
    Read,
    Mmap,
}

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
    pub(crate) device: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) way: Way,
}

impl Arguments {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
        let (mut device, mut bytes, mut way) = (PathBuf::from(FIRST_DEVICE), None, None);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("bytes") => bytes = Some(parser.value()?.parse()?),
                Long("device") => device = parser.value()?.into(),
                Long("help") | Short('h') => return Ok(Action::Help),
                Long("version") => return Ok(Action::Version),
                Value(name) if way.is_none() => way = Some(name.parse_with(way_of)?),
                other => return Err(other.unexpected()),
            }
        }
        let bytes = bytes.ok_or("--bytes is missing")?;
        let way = way.ok_or("the way is missing: ioctl, read or mmap")?;
        Ok(Action::Run(Self { device, bytes, way }))
    }
}

fn way_of(name: &str) -> Result<Way, String> {
    match name {
        "ioctl" => Ok(Way::Ioctl),
        "read" => Ok(Way::Read),
        "mmap" => Ok(Way::Mmap),
        _ => Err("expected ioctl, read or mmap".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Action, String> {
        Arguments::parse(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_way_and_a_number_are_needed() {
        let expected = Arguments { device: "/dev/x".into(), bytes: 10, way: Way::Mmap };
        assert_eq!(parse(&["--bytes=10", "mmap", "--device", "/dev/x"]), Ok(Action::Run(expected)));
        for wrong in [&["mmap"][..], &["--bytes", "1"], &["--bytes", "-1", "mmap"], &["--bytes=1", "dice"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
