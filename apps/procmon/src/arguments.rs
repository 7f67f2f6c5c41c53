// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::bench::forker::COMMAND as FORKER;
use crate::bench::reader::COMMAND as READER;

/// What `--help` shows.
pub(crate) const HELP: &str = "\
Shows processes and what happens to them, through /dev/procmon.

Usage: procmon [--delay SECONDS]       a live table; q quits
       procmon events [--json] [--count N] [--timeout SECONDS] [--pid PID]
                                       events as they happen; --pid: of this process and its descendants
       procmon query PID...            name, state and size of processes
       procmon stats                   what the module has counted
       procmon snapshot [--json]       all processes
       procmon write [MESSAGE]         keep a message (or what stdin gives) in the module
       procmon read                    print it
       procmon filter PID              whose events are recorded: PID and its descendants; 0 for all
       procmon bench [--json] [--runs N] [--window MILLISECONDS] [--module FILE]
                                       measure, with /proc beside it; --module: the loaded module's file, which may
                                       then be unloaded and loaded again, to measure what it costs
       procmon --help

Exit status: 0; 1 for an error, or a process that does not exist; 2 for a wrong command line.
";

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    Help,
    Top(TopOptions),
    Events(EventOptions),
    Query(Vec<i32>),
    Stats,
    Snapshot {
        json: bool,
    },
    Read,
    Write(Option<OsString>),
    Filter(i32),
    Bench(BenchOptions),
    /// For `bench` only.
    BenchReader,
    /// For `bench` only: forks for this long.
    BenchForker {
        window: Duration,
        processor: Option<usize>,
    },
}

/// How the live table is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopOptions {
    /// From one look to the next.
    pub(crate) delay: Duration,
}

/// Which events are shown, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct EventOptions {
    /// One JSON object a line.
    pub(crate) json: bool,
    /// End after so many.
    pub(crate) count: Option<u64>,
    /// End after this time.
    pub(crate) timeout: Option<Duration>,
    /// Of this process and its descendants only.
    pub(crate) pid: Option<i32>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BenchOptions {
    /// JSON instead of a table.
    pub(crate) json: bool,
    /// How often each row is measured.
    pub(crate) runs: u32,
    /// How long each time.
    pub(crate) window: Duration,
    /// The module's file.
    pub(crate) module: Option<PathBuf>,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { json: false, runs: 5, window: Duration::from_millis(500), module: None }
    }
}

impl Command {
    /// Reads the command line.
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let mut top = TopOptions { delay: Duration::from_secs(1) };
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(Self::Help),
                Long("delay") => top.delay = seconds(&mut parser)?,
                Value(name) => return Self::parse_command(&name.string()?, parser),
                other => return Err(other.unexpected()),
            }
        }
        Ok(Self::Top(top))
    }

    fn parse_command(name: &str, mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let command = match name {
            "help" => Self::Help,
            "events" => return Ok(Self::Events(event_options(parser)?)),
            "query" => {
                let mut pids = Vec::new();
                while let Some(argument) = parser.next()? {
                    match argument {
                        Value(pid) => pids.push(pid.parse()?),
                        other => return Err(other.unexpected()),
                    }
                }
                if pids.is_empty() {
                    return Err("query needs the number of a process".into());
                }
                return Ok(Self::Query(pids));
            }
            "stats" => Self::Stats,
            "snapshot" => {
                let mut json = false;
                while let Some(argument) = parser.next()? {
                    match argument {
                        Long("json") => json = true,
                        other => return Err(other.unexpected()),
                    }
                }
                return Ok(Self::Snapshot { json });
            }
            "read" => Self::Read,
            "write" => {
                let mut message = None;
                while let Some(argument) = parser.next()? {
                    match argument {
                        Value(text) if message.is_none() => message = Some(text),
                        other => return Err(other.unexpected()),
                    }
                }
                return Ok(Self::Write(message));
            }
            "filter" => Self::Filter(parser.value()?.parse()?),
            READER => Self::BenchReader,
            FORKER => {
                let window = Duration::from_millis(parser.value()?.parse()?);
                let processor = match parser.next()? {
                    None => None,
                    Some(Value(number)) => Some(number.parse()?),
                    Some(other) => return Err(other.unexpected()),
                };
                Self::BenchForker { window, processor }
            }
            "bench" => return Ok(Self::Bench(bench_options(parser)?)),
            _ => return Err(format!("there is no command {name:?}").into()),
        };
        match parser.next()? {
            None => Ok(command),
            Some(other) => Err(other.unexpected()),
        }
    }
}

fn event_options(mut parser: lexopt::Parser) -> Result<EventOptions, lexopt::Error> {
    let mut options = EventOptions::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => options.json = true,
            Long("count") => options.count = Some(parser.value()?.parse()?),
            Long("timeout") => options.timeout = Some(seconds(&mut parser)?),
            Long("pid") => options.pid = Some(parser.value()?.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn bench_options(mut parser: lexopt::Parser) -> Result<BenchOptions, lexopt::Error> {
    let mut options = BenchOptions::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => options.json = true,
            Long("runs") => {
                options.runs = parser.value()?.parse()?;
                if options.runs == 0 {
                    return Err("--runs needs a positive number".into());
                }
            }
            Long("window") => {
                let milliseconds: NonZeroU32 = parser.value()?.parse()?;
                options.window = Duration::from_millis(milliseconds.get().into());
            }
            Long("module") => options.module = Some(parser.value()?.into()),
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    let seconds: f64 = parser.value()?.parse()?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a time must be a positive number of seconds".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Command::parse(lexopt::Parser::from_args(line.split_whitespace())).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_command_it_is_the_table() {
        assert_eq!(parse(""), Ok(Command::Top(TopOptions { delay: Duration::from_secs(1) })));
        assert_eq!(parse("--delay 0.5"), Ok(Command::Top(TopOptions { delay: Duration::from_millis(500) })));
    }

    #[test]
    fn commands_take_their_options() {
        assert_eq!(parse("query 1 2"), Ok(Command::Query(vec![1, 2])));
        assert_eq!(parse("snapshot --json"), Ok(Command::Snapshot { json: true }));
        assert_eq!(parse("write hello"), Ok(Command::Write(Some("hello".into()))));
        assert_eq!(parse("write"), Ok(Command::Write(None)));
        assert_eq!(
            parse("events --json --count 3 --timeout 2 --pid 7"),
            Ok(Command::Events(EventOptions {
                json: true,
                count: Some(3),
                timeout: Some(Duration::from_secs(2)),
                pid: Some(7),
            }))
        );
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
        ] {
            assert!(parse(line).is_err(), "{line:?} was accepted");
        }
    }
}
