// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it costs a process that its birth and death are recorded.

use std::path::Path;
use std::time::Duration;

use bench_report::Row;

use super::forker::Forker;
use super::reader::Reader;
use super::{Failure, Values, median, module};
use crate::arguments::BenchOptions;

/// How often in a run the cases take turns. What they differ by is small beside what a busy host changes from one second
/// to the next, so each is compared with the one beside it, and the middle of these differences counts.
const TURNS: u32 = 10;
/// A turn's part of the window of other rows.
const PART: u32 = 4;

/// All forks happen on one processor: those that another takes over cost several times as much, and which do is chance.
const PROCESSOR: usize = 0;

/// Nanoseconds for the life of a process, in one turn.
struct Turn {
    /// Without the module; `None` if it may not be unloaded.
    absent: Option<f64>,
    /// With the module, and nobody who reads events.
    loaded: f64,
    /// With a program that reads events.
    events: f64,
}

/// Measures forks with events, and without if the module may be unloaded.
pub(super) fn measure(options: &BenchOptions) -> Result<Vec<Row>, Failure> {
    let mut absent = Values::new("procmon.fork_exit_ns.absent", "ns");
    let mut loaded = Values::new("procmon.fork_exit_ns.loaded", "ns");
    let mut events = Values::new("procmon.fork_exit_ns.events", "ns");
    let mut overhead = Values::new("procmon.event_overhead_ns", "ns");
    let mut percent = Values::new("procmon.event_overhead_percent", "%");

    for _ in 0..options.common.runs {
        let turns = (0..TURNS)
            .map(|number| turn(options.module.as_deref(), options.common.window / PART, number % 2 == 1))
            .collect::<Result<Vec<Turn>, Failure>>()?;
        let middle = |value: &dyn Fn(&Turn) -> Option<f64>| median(turns.iter().filter_map(value).collect());
        absent.extend(middle(&|turn| turn.absent));
        loaded.extend(middle(&|turn| Some(turn.loaded)));
        events.extend(middle(&|turn| Some(turn.events)));
        overhead.extend(middle(&|turn| Some(turn.events - turn.absent?)));
        percent.extend(middle(&|turn| Some((turn.events / turn.absent? - 1.0) * 100.0)));
    }
    Ok([absent, loaded, events, overhead, percent].iter().filter_map(Values::row).collect())
}

/// Each case once, in this order or from its end on: so none is always the first after the module was loaded.
fn turn(module: Option<&Path>, window: Duration, backwards: bool) -> Result<Turn, Failure> {
    let without = || module.map(|file| without_module(file, window)).transpose();
    if backwards {
        let (events, loaded) = (with_reader(window)?, forks(window)?);
        Ok(Turn { absent: without()?, loaded, events })
    } else {
        Ok(Turn { absent: without()?, loaded: forks(window)?, events: with_reader(window)? })
    }
}

fn forks(window: Duration) -> Result<f64, Failure> {
    Ok(Forker::start(window, Some(PROCESSOR))?.end()?.each())
}

fn without_module(file: &Path, window: Duration) -> Result<f64, Failure> {
    module::unload()?;
    let measured = forks(window);
    module::load(file)?;
    measured
}

/// Forks while a program reads what is told of it.
fn with_reader(window: Duration) -> Result<f64, Failure> {
    let reader = Reader::start()?;
    let measured = forks(window);
    if reader.end()?.read == 0 {
        return Err("no event was recorded while processes came and went".into());
    }
    measured
}
