// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it costs a process that its birth and death are recorded.

use std::path::Path;
use std::time::{Duration, Instant};

use bench_report::Row;

use super::fork::fork_and_exit;
use super::reader::Reader;
use super::{Failure, Values, each, module};
use crate::arguments::BenchOptions;

/// Measures forks with events, and without if the module may be unloaded. All in turn, round by round, so that a machine
/// that slows down does so for all.
pub(super) fn measure(options: &BenchOptions) -> Result<Vec<Row>, Failure> {
    let mut absent = Values::new("procmon.fork_exit_ns.absent", "ns");
    let mut loaded = Values::new("procmon.fork_exit_ns.loaded", "ns");
    let mut events = Values::new("procmon.fork_exit_ns.events", "ns");
    let mut overhead = Values::new("procmon.event_overhead_ns", "ns");
    let mut percent = Values::new("procmon.event_overhead_percent", "%");
    let mut rate = Values::new("procmon.events_per_second", "1/s");
    let mut lost = Values::new("procmon.events_lost", "events");

    for _ in 0..options.runs {
        let without =
            options.module.as_deref().map(|file| without_module(file, options.window)).transpose()?;
        loaded.add(forks(options.window)?);
        let read = with_reader(options.window)?;
        events.add(read.fork_ns);
        rate.add(read.events_per_second);
        lost.add(read.lost);
        if let Some(without) = without {
            absent.add(without);
            overhead.add(read.fork_ns - without);
            percent.add((read.fork_ns - without) / without * 100.0);
        }
    }
    Ok([absent, loaded, events, overhead, percent, rate, lost].iter().filter_map(Values::row).collect())
}

fn forks(window: Duration) -> Result<f64, Failure> {
    each(window, || Ok(fork_and_exit().map(|()| 1)?))
}

fn without_module(file: &Path, window: Duration) -> Result<f64, Failure> {
    module::unload()?;
    let measured = forks(window);
    module::load(file)?;
    measured
}

struct Read {
    fork_ns: f64,
    events_per_second: f64,
    lost: f64,
}

/// Forks while a program reads what is told of it.
fn with_reader(window: Duration) -> Result<Read, Failure> {
    let reader = Reader::start()?;
    let start = Instant::now();
    let measured = forks(window);
    let elapsed = start.elapsed();
    let found = reader.end()?;
    if found.read == 0 {
        return Err("no event was recorded while processes came and went".into());
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of events; a figure needs no more")]
    let (read, lost) = (found.read as f64, found.lost as f64);
    Ok(Read { fork_ns: measured?, events_per_second: read / elapsed.as_secs_f64(), lost })
}
