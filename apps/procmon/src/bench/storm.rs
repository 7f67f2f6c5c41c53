// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that come and go as fast as the machine can make them, on all its processors, and one program that reads all
//! events: does it keep up?

use std::thread;
use std::time::Duration;

use bench_report::Row;

use super::forker::Forker;
use super::reader::{Found, Reader};
use super::{Failure, Values};
use crate::arguments::BenchOptions;

/// Runs storms.
pub(super) fn measure(options: &BenchOptions) -> Result<Vec<Row>, Failure> {
    let mut forks = Values::new("procmon.storm_forks_per_second", "1/s");
    let mut lost = Values::new("procmon.storm_events_lost", "events");
    for _ in 0..options.common.runs {
        let storm = Storm::run(options.common.window)?;
        #[expect(clippy::cast_precision_loss, reason = "a count of events; a figure needs no more")]
        let events_lost = storm.found.lost as f64;
        forks.add(storm.per_second);
        lost.add(events_lost);
    }
    Ok([forks, lost].iter().filter_map(Values::row).collect())
}

struct Storm {
    /// Forks of all together.
    per_second: f64,
    found: Found,
}

impl Storm {
    fn run(window: Duration) -> Result<Self, Failure> {
        let reader = Reader::start()?;
        let forkers = (0..thread::available_parallelism()?.get())
            .map(|_| Forker::start(window, None))
            .collect::<Result<Vec<_>, Failure>>()?;
        let (mut forks, mut per_second) = (0_u64, 0.0);
        for forker in forkers {
            let done = forker.end()?;
            forks = forks.saturating_add(done.forks);
            per_second += 1e9 / done.each();
        }
        let found = reader.end()?;
        // A fork and an exit of each, and some of those who made them.
        let (told, expected) = (found.read.saturating_add(found.lost), forks.saturating_mul(2));
        if told < expected {
            return Err(format!("{forks} processes have come and gone, but there were {told} events").into());
        }
        Ok(Self { per_second, found })
    }
}
