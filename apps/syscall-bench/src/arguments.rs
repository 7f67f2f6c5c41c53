// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `syscall-bench`.

use std::num::NonZeroU32;
use std::time::Duration;

use lexopt::prelude::*;

use crate::rows;

pub(crate) const HELP: &str = "\
Measures what system calls cost, in nanoseconds, and how many a second there
can be. The same binary runs on Linux and on Exo-Kernel.

Usage: syscall-bench [OPTIONS] [ROW]…

Without ROW, all rows are measured:
  getpid unknown read_zero_1 read_zero_4k write_null clock_gettime sched_yield
  open_close futex_wake mmap_munmap page_fault pipe_roundtrip_ns
  ipc_roundtrip_ns context_switch fork_exit_wait execve getpid_rate
ipc_roundtrip_ns needs Exo-Kernel. getpid_rate uses all CPUs, the others one.

Options:
  --runs N      times that each row is measured; the median is shown
                [default: 5]
  --window MS   length of one measurement in milliseconds [default: 200]
  --json        print the figures as JSON
  --nothing     end at once: what the row execve starts
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
    Nothing,
    Help,
    Version,
}

/// The options of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) runs: u32,
    pub(crate) window: Duration,
    /// The rows that were asked for; none means all.
    pub(crate) rows: Vec<String>,
    pub(crate) json: bool,
}

impl Arguments {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
        let mut arguments =
            Self { runs: DEFAULT_RUNS, window: DEFAULT_WINDOW, rows: Vec::new(), json: false };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("runs") => arguments.runs = parser.value()?.parse::<NonZeroU32>()?.get(),
                Long("window") => {
                    arguments.window =
                        Duration::from_millis(parser.value()?.parse::<NonZeroU32>()?.get().into());
                }
                Long("json") => arguments.json = true,
                Long("nothing") => return Ok(Action::Nothing),
                Long("version") | Short('V') => return Ok(Action::Version),
                Long("help") | Short('h') => return Ok(Action::Help),
                Value(row) if rows::ALL.iter().any(|known| row == known.name) => {
                    arguments.rows.push(row.string()?)
                }
                Value(row) => return Err(format!("{row:?} is no row; --help names them").into()),
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
    fn options_and_rows_are_taken_and_mistakes_refused() {
        let expected = Arguments {
            runs: 7,
            window: Duration::from_millis(10),
            rows: vec!["getpid".to_owned()],
            json: true,
        };
        assert_eq!(parse(&["--runs=7", "--window", "10", "getpid", "--json"]), Ok(Action::Run(expected)));
        assert_eq!(parse(&["--nothing"]), Ok(Action::Nothing));
        for words in [&["--runs", "0"][..], &["--window", "long"], &["--fast"], &["getppid"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_help_names_every_row_and_fits_a_terminal() {
        assert!(HELP.lines().all(|line| line.chars().count() <= 80));
        assert!(rows::ALL.iter().all(|row| HELP.contains(row.name)));
    }
}
