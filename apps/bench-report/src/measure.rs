// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the programs that measure rows share: how long an operation takes, and how the rows are gone through.
//!
//! An operation is done many times in a slice of time, and of several slices the median counts. A slice in which the host did
//! something else is then left out.

use std::time::{Duration, Instant};

use crate::{Options, Report, Row, Unit};

/// Anything that can go wrong on the way to a figure.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A row that a program can measure.
#[derive(Debug)]
pub struct Bench {
    /// What it is called, on the command line and in the report.
    pub name: &'static str,
    /// Of what [`measure`](Self::measure) gives.
    pub unit: Unit,
    /// Measures it once, for about that long.
    pub measure: fn(Duration) -> Result<f64, Failure>,
    /// Whether a kernel may lack what it needs.
    pub is_optional: bool,
}

impl Bench {
    /// A row of nanoseconds, which every kernel has.
    #[must_use]
    pub const fn time(name: &'static str, measure: fn(Duration) -> Result<f64, Failure>) -> Self {
        Self { name, unit: "ns", measure, is_optional: false }
    }

    /// The same, in bytes a second.
    #[must_use]
    pub const fn throughput(name: &'static str, measure: fn(Duration) -> Result<f64, Failure>) -> Self {
        Self { name, unit: "B/s", measure, is_optional: false }
    }
}

/// Measures those of `benches` that are named in `wanted`, or all if that is empty, and prints the report.
///
/// # Errors
/// What went wrong with a row that is not optional, or stdout cannot be written to.
pub fn run(benches: &[Bench], wanted: &[String], options: Options) -> Result<(), Failure> {
    let is_wanted = |bench: &&Bench| wanted.is_empty() || wanted.iter().any(|name| name == bench.name);
    let mut measured: Vec<_> = benches.iter().filter(is_wanted).map(|bench| (bench, Vec::new())).collect();
    for _ in 0..options.runs {
        // In turns, so that a slow moment of the host does not fall on one row alone.
        for (bench, values) in &mut measured {
            match (bench.measure)(options.window) {
                Ok(value) => values.push(value),
                Err(error) if bench.is_optional => eprintln!("{} not measured: {error}", bench.name),
                Err(error) => return Err(format!("{}: {error}", bench.name).into()),
            }
        }
    }
    let rows = measured.iter().filter_map(|(bench, values)| Row::of(bench.name, bench.unit, values));
    Ok(Report::new(rows.collect()).print(options.json)?)
}

/// Slices of a window.
const SLICES: u32 = 9;
/// Operations between two looks at the clock, at most.
const LARGEST_BATCH: u64 = 1 << 16;

/// Nanoseconds that one operation takes; `operations` does as many as it is told. The first slice warms up and does not count.
///
/// # Errors
/// What `operations` says.
pub fn nanoseconds(
    window: Duration,
    mut operations: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<f64, Failure> {
    let slice = window / (SLICES + 1);
    let batch = batch(slice, &mut operations)?;
    let mut times = Vec::new();
    for _ in 0..SLICES {
        let (start, mut done) = (Instant::now(), 0_u64);
        let time = loop {
            operations(batch)?;
            done = done.saturating_add(batch);
            let time = start.elapsed();
            if time >= slice {
                break time;
            }
        };
        times.push(time.as_secs_f64() * 1e9 / done as f64);
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().ok_or_else(|| "nothing was measured".into())
}

/// How many operations fill about a tenth of a slice; finding out warms up. Of two tries the shorter one counts: what happens
/// the first time only (a line in the kernel's log), or a moment in which the host did something else, must not end in batches
/// so small that it is the clock which is measured.
fn batch(slice: Duration, operations: &mut impl FnMut(u64) -> Result<(), Failure>) -> Result<u64, Failure> {
    let mut batch = 1;
    loop {
        let mut time = || -> Result<Duration, Failure> {
            let start = Instant::now();
            operations(batch)?;
            Ok(start.elapsed())
        };
        if time()?.min(time()?) >= slice / 10 || batch >= LARGEST_BATCH {
            return Ok(batch);
        }
        batch *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_sleeps_takes_at_least_as_long() {
        let sleep = |count: u64| {
            for _ in 0..count {
                std::thread::sleep(Duration::from_micros(100));
            }
            Ok(())
        };
        assert!(nanoseconds(Duration::from_millis(20), sleep).unwrap() >= 100_000.0);
        assert!(nanoseconds(Duration::from_millis(20), |_| Err("broken".into())).is_err());
    }

    #[test]
    fn a_slow_first_operation_does_not_make_batches_small() {
        let (mut calls, mut operations) = (0, 0);
        let mut slow_at_first = |count: u64| {
            if calls == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            calls += 1;
            operations += count;
            Ok(())
        };
        assert!(batch(Duration::from_millis(100), &mut slow_at_first).unwrap() > 1);
        assert!(operations > 1);
    }
}
