// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bench_report::Options;
use clap::{Args, Parser, Subcommand};

use crate::bench::forker::COMMAND as FORKER;
use crate::bench::reader::COMMAND as READER;

/// Shows processes and what happens to them, through /dev/procmon
///
/// Without a command it is a live table; q quits.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) top: TopOptions,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const AFTER_HELP: &str = "\
Exit status: 0; 1 for an error, or a process that does not exist; 2 for a wrong command line.";

/// What to do, other than to show the live table.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub(crate) enum Command {
    /// Events as they happen
    Events(EventOptions),
    /// Name, state and size of processes
    Query {
        /// Their numbers
        #[arg(value_name = "PID", required = true)]
        pids: Vec<i32>,
    },
    /// What the module has counted
    Stats,
    /// All processes
    Snapshot {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Keep a message (or what stdin gives) in the module
    Write {
        /// What to keep
        message: Option<OsString>,
    },
    /// Print the message
    Read,
    /// Whose events are recorded
    Filter {
        /// A process, with its descendants; 0 for all
        #[arg(allow_negative_numbers = true)]
        pid: i32,
    },
    /// Measure, with /proc beside it
    Bench(BenchOptions),
    /// For `bench` only.
    #[command(name = READER, hide = true)]
    BenchReader,
    /// For `bench` only: forks for so many milliseconds.
    #[command(name = FORKER, hide = true)]
    BenchForker { milliseconds: u64, processor: Option<usize> },
}

/// How the live table is shown.
#[derive(Debug, Clone, PartialEq, Args)]
pub(crate) struct TopOptions {
    /// From one look of the live table to the next
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) delay: Duration,
}

/// Which events are shown, and how.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct EventOptions {
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// End after so many
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// End after this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Of this process and its descendants only
    #[arg(long)]
    pub(crate) pid: Option<i32>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(mut_arg("window", |window| window.default_value("500")))]
pub(crate) struct BenchOptions {
    #[command(flatten)]
    pub(crate) common: Options,
    /// The loaded module's file; it may then be unloaded and loaded again, to measure what it costs
    #[arg(long, value_name = "FILE")]
    pub(crate) module: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let duration = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a time must be a positive number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words = std::iter::once("procmon").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    fn command(line: &str) -> Result<Option<Command>, String> {
        parse(line).map(|arguments| arguments.command)
    }

    #[test]
    fn without_a_command_it_is_the_table() {
        let table = |delay| Ok(Arguments { top: TopOptions { delay }, command: None });
        assert_eq!(parse(""), table(Duration::from_secs(1)));
        assert_eq!(parse("--delay 0.5"), table(Duration::from_millis(500)));
    }

    #[test]
    fn commands_take_their_options() {
        assert_eq!(command("query 1 2"), Ok(Some(Command::Query { pids: vec![1, 2] })));
        assert_eq!(command("snapshot --json"), Ok(Some(Command::Snapshot { json: true })));
        assert_eq!(command("write hello"), Ok(Some(Command::Write { message: Some("hello".into()) })));
        assert_eq!(command("write"), Ok(Some(Command::Write { message: None })));
        assert_eq!(command("filter -1"), Ok(Some(Command::Filter { pid: -1 })), "for the module to refuse");
        assert_eq!(
            command("events --json --count 3 --timeout 2 --pid 7"),
            Ok(Some(Command::Events(EventOptions {
                json: true,
                count: Some(3),
                timeout: Some(Duration::from_secs(2)),
                pid: Some(7),
            })))
        );
        let common = Options { runs: 5, window: Duration::from_millis(500), json: true };
        let module = Some("/procmon.ko".into());
        assert_eq!(
            command("bench --json --module /procmon.ko"),
            Ok(Some(Command::Bench(BenchOptions { common, module })))
        );
        let forker = Command::BenchForker { milliseconds: 0, processor: Some(1) };
        assert_eq!(command(&format!("{FORKER} 0 1")), Ok(Some(forker)));
        assert_eq!(command(READER), Ok(Some(Command::BenchReader)));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "query",
            "query x",
            "events --count",
            "frobnicate",
            "stats 1",
            "--delay 0",
            "filter",
            "filter 1 2",
            "bench --runs 0",
        ] {
            assert!(parse(line).is_err(), "{line:?} was accepted");
        }
    }

    #[test]
    fn the_help_shows_what_people_may_call() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains("snapshot") && !help.contains(FORKER) && !help.contains(READER), "{help}");
    }
}
