// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that come and go as fast as the machine can make them, on all its processors, and one program that reads all
//! events: does it keep up?

use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bench_report::Row;

use super::fork::fork_and_exit;
use super::reader::{Found, Reader};
use super::{Failure, Values};
use crate::arguments::BenchOptions;
use crate::commands::Outcome;

/// On the command line of those who fork.
pub(crate) const COMMAND: &str = "bench-forker";

/// Runs storms.
pub(super) fn measure(options: &BenchOptions) -> Result<Vec<Row>, Failure> {
    let mut forks = Values::new("procmon.storm_forks_per_second", "1/s");
    let mut events = Values::new("procmon.storm_events_per_second", "1/s");
    let mut lost = Values::new("procmon.storm_events_lost", "events");
    for _ in 0..options.runs {
        let storm = Storm::run(options.window)?;
        let seconds = options.window.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts of events; a figure needs no more")]
        for (row, count) in
            [(&mut forks, storm.forks), (&mut events, storm.found.read), (&mut lost, storm.found.lost)]
        {
            row.add(if row.unit == "1/s" { count as f64 / seconds } else { count as f64 });
        }
    }
    Ok([forks, events, lost].iter().filter_map(Values::row).collect())
}

struct Storm {
    forks: u64,
    found: Found,
}

impl Storm {
    fn run(window: Duration) -> Result<Self, Failure> {
        let reader = Reader::start()?;
        let milliseconds = window.as_millis().to_string();
        let program = std::env::current_exe()?;
        let forkers = (0..std::thread::available_parallelism()?.get())
            .map(|_| Command::new(&program).args([COMMAND, &milliseconds]).stdout(Stdio::piped()).spawn())
            .collect::<Result<Vec<_>, _>>()?;
        let mut forks = 0_u64;
        for mut forker in forkers {
            let mut text = String::new();
            if let Some(output) = &mut forker.stdout {
                output.read_to_string(&mut text)?;
            }
            forker.wait()?;
            let count: u64 = text.trim().parse().map_err(|_| format!("a forker says {text:?}"))?;
            forks = forks.saturating_add(count);
        }
        let found = reader.end()?;
        // A fork and an exit of each, and some of those who made them.
        let (told, expected) = (found.read.saturating_add(found.lost), forks.saturating_mul(2));
        if told < expected {
            return Err(format!("{forks} processes have come and gone, but there were {told} events").into());
        }
        Ok(Self { forks, found })
    }
}

/// The program that forks, for this long; prints how often.
pub(crate) fn run(window: Duration) -> Outcome {
    let (start, mut forks) = (Instant::now(), 0_u64);
    while start.elapsed() < window {
        fork_and_exit()?;
        forks = forks.saturating_add(1);
    }
    writeln!(std::io::stdout(), "{forks}")?;
    Ok(ExitCode::SUCCESS)
}
