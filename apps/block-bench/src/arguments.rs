// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `block-bench`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
Measures block devices through io_uring: random reads and writes of 4 KiB at
depths 1 and 32, sequential ones of 128 KiB, what submitting and completing a
request costs apart from the device, and plain pread calls. The same binary
runs on Linux and on Exo-Kernel.

THE DEVICES ARE OVERWRITTEN, but for their first 64 KiB.

Usage: block-bench [OPTIONS] NAME[=PATH]…

A device without a PATH is the one whose first sector begins with the words
\"exo block-bench NAME\". Rows are called NAME.read_4k_qd1 and so on.

Options:
  --runs N      times that each row is measured; the median is shown
                [default: 5]
  --window MS   length of one measurement in milliseconds [default: 200]
  --json        print the figures as JSON
  --version     print the version
  --help        print this text

Ends with 0 if all went well, 1 if a row could not be measured,
2 if the command line was wrong.
";

/// Medians are of at least five.
const DEFAULT_RUNS: u32 = 5;
const DEFAULT_WINDOW: Duration = Duration::from_millis(200);

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
    pub(crate) runs: u32,
    pub(crate) window: Duration,
    pub(crate) json: bool,
    /// Names of devices, and their paths if they have no label.
    pub(crate) devices: Vec<(String, Option<PathBuf>)>,
}

impl Arguments {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
        let mut arguments =
            Self { runs: DEFAULT_RUNS, window: DEFAULT_WINDOW, json: false, devices: Vec::new() };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("runs") => arguments.runs = parser.value()?.parse::<NonZeroU32>()?.get(),
                Long("window") => {
                    arguments.window =
                        Duration::from_millis(parser.value()?.parse::<NonZeroU32>()?.get().into());
                }
                Long("json") => arguments.json = true,
                Long("version") | Short('V') => return Ok(Action::Version),
                Long("help") | Short('h') => return Ok(Action::Help),
                Value(word) => arguments.devices.push(device(&word.string()?)?),
                other => return Err(other.unexpected()),
            }
        }
        if arguments.devices.is_empty() {
            return Err("no device is named".into());
        }
        Ok(Action::Run(arguments))
    }
}

fn device(word: &str) -> Result<(String, Option<PathBuf>), String> {
    let (name, path) = match word.split_once('=') {
        Some((name, path)) => (name, Some(PathBuf::from(path))),
        None => (word, None),
    };
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(fine) || path.as_ref().is_some_and(|p| p.as_os_str().is_empty()) {
        return Err(format!("{word:?} is no device; expected NAME or NAME=PATH, such as nvme=/dev/nvme0n1"));
    }
    Ok((name.to_owned(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Action, String> {
        Arguments::parse(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())
    }

    #[test]
    fn devices_have_names_and_perhaps_paths() {
        let expected = Arguments {
            runs: 7,
            window: Duration::from_millis(10),
            json: true,
            devices: vec![("nvme".to_owned(), None), ("ram".to_owned(), Some("/dev/ram0".into()))],
        };
        let words = ["--runs=7", "--window", "10", "nvme", "--json", "ram=/dev/ram0"];
        assert_eq!(parse(&words), Ok(Action::Run(expected)));
        for words in
            [&[][..], &["--runs", "0", "a"], &["--window", "x"], &["=x"], &["a="], &["A"], &["--fast"]]
        {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert!(HELP.lines().all(|line| line.chars().count() <= 80));
    }
}
