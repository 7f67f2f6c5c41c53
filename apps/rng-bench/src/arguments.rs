// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `rng-bench`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::rows;

pub(crate) const HELP: &str = "\
Measures how fast a program gets random numbers in this machine, by every way
that there is: those of a my_rng device and those of its peers, in turns.

Usage: rng-bench [OPTIONS] [ROW]…

Without ROW, all rows are measured:
  rng.ioctl_rand32 rng.ioctl_rand64 rng.read rng.mmap
                                                 of --device
  rng.mmio_rand32                                of --mmio-device
  peer.hwrng_virtio peer.vhost_user_rng          of /dev/hwrng
  peer.getrandom peer.dev_zero_read peer.null_ioctl
A row whose source this machine lacks is named on stderr.

Options:
  --runs N               times that each row is measured; the median is shown
                         [default: 5]
  --window MS            length of one measurement in milliseconds, in 4 slices
                         [default: 400]
  --threads N            threads that draw at once, each on a CPU of its own
                         [default: as many as there are CPUs]
  --device PATH          device node [default: /dev/my_rng0]
  --mmio-device NAME     device whose registers are read directly; it is taken
                         from its driver meanwhile [default: my_rng1]
  --virtio-rng ADDRESS   PCI address of a virtio-rng device, as 0000:00:10.0
  --vhost-user-rng ADDRESS
                         the same of one that another process serves
  --json                 print the figures as JSON
  --progress             print a line `run N of M` before each run
  --version              print the version
  --help                 print this text

Ends with 0 if all went well, 1 if a source failed while it was measured,
2 if the command line was wrong.
";

/// Medians are of at least five.
const DEFAULT_RUNS: u32 = 5;

/// Long enough for some thousand switches between a machine and its host's processes.
const DEFAULT_WINDOW_MS: u32 = 400;

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
    pub(crate) threads: usize,
    pub(crate) device: PathBuf,
    pub(crate) mmio_device: String,
    pub(crate) virtio_rng: Option<String>,
    pub(crate) vhost_user_rng: Option<String>,
    /// The rows that were asked for; none means all.
    pub(crate) rows: Vec<String>,
    pub(crate) json: bool,
    pub(crate) progress: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            runs: DEFAULT_RUNS,
            window: Duration::from_millis(DEFAULT_WINDOW_MS.into()),
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            device: "/dev/my_rng0".into(),
            mmio_device: "my_rng1".to_owned(),
            virtio_rng: None,
            vhost_user_rng: None,
            rows: Vec::new(),
            json: false,
            progress: false,
        }
    }
}

impl Arguments {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
        let mut arguments = Self::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("runs") => arguments.runs = parser.value()?.parse::<NonZeroU32>()?.get(),
                Long("window") => {
                    arguments.window =
                        Duration::from_millis(parser.value()?.parse::<NonZeroU32>()?.get().into());
                }
                Long("threads") => arguments.threads = parser.value()?.parse::<NonZeroUsize>()?.get(),
                Long("device") => arguments.device = parser.value()?.into(),
                Long("mmio-device") => arguments.mmio_device = parser.value()?.string()?,
                Long("virtio-rng") => arguments.virtio_rng = Some(parser.value()?.string()?),
                Long("vhost-user-rng") => arguments.vhost_user_rng = Some(parser.value()?.string()?),
                Long("json") => arguments.json = true,
                Long("progress") => arguments.progress = true,
                Long("version") | Short('V') => return Ok(Action::Version),
                Long("help") | Short('h') => return Ok(Action::Help),
                Value(row) if rows::ALL.iter().any(|known| row == known.name) => {
                    arguments.rows.push(row.string()?)
                }
                Value(row) => {
                    let known: Vec<_> = rows::ALL.iter().map(|row| row.name).collect();
                    return Err(format!("{row:?} is no row; expected one of: {}", known.join(" ")).into());
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(Action::Run(arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Action, String> {
        Arguments::parse(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_is_taken() {
        let words = [
            "rng.read",
            "--runs=7",
            "--window",
            "10",
            "--threads",
            "3",
            "--device",
            "/dev/my_rng4",
            "--mmio-device",
            "my_rng5",
            "--virtio-rng",
            "0000:00:10.0",
            "--vhost-user-rng",
            "0000:00:11.0",
            "--json",
            "--progress",
            "peer.getrandom",
        ];
        let expected = Arguments {
            runs: 7,
            window: Duration::from_millis(10),
            threads: 3,
            device: "/dev/my_rng4".into(),
            mmio_device: "my_rng5".to_owned(),
            virtio_rng: Some("0000:00:10.0".to_owned()),
            vhost_user_rng: Some("0000:00:11.0".to_owned()),
            rows: vec!["rng.read".to_owned(), "peer.getrandom".to_owned()],
            json: true,
            progress: true,
        };
        assert_eq!(parse(&words), Ok(Action::Run(expected)));
        assert_eq!(parse(&[]), Ok(Action::Run(Arguments::default())));
        assert_eq!(parse(&["-h"]), Ok(Action::Help));
    }

    #[test]
    fn mistakes_are_refused() {
        for words in [&["--runs", "0"][..], &["--window", "long"], &["--threads", "-1"], &["--fast"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert!(
            parse(&["rng.magic"])
                .unwrap_err()
                .contains("rng.magic\" is no row; expected one of: rng.ioctl_rand32 ")
        );
    }

    #[test]
    fn the_help_names_every_row_and_fits_a_terminal() {
        assert!(HELP.lines().all(|line| line.chars().count() <= 80));
        assert!(rows::ALL.iter().all(|row| HELP.contains(row.name)));
    }
}
