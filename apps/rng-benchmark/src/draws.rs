// SPDX-License-Identifier: MIT OR Apache-2.0
//! The measurement: runs of draws by ioctl, 32 and 64 bits in turn, so that a slow moment of the machine hits both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bench_report::Row;
use my_rng_client::{Device, Error};

use crate::arguments::Arguments;
use crate::progress::Progress;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) bits32: Width,
    pub(crate) bits64: Width,
}

/// All runs of one width.
#[derive(Debug)]
pub(crate) struct Width {
    /// `rand32` or `rand64`.
    name: &'static str,
    bytes: u32,
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    draws: u32,
    time: Duration,
}

/// Draws as many numbers as asked for.
pub(crate) fn measure(device: &Device, arguments: &Arguments) -> Result<Measured, Error> {
    let mut measured = Measured { bits32: Width::new("rand32", 4), bits64: Width::new("rand64", 8) };
    let mut progress = Progress::start(arguments.runs);
    for run in 0..arguments.runs {
        progress.show(run, "32 bits");
        let draws = share(arguments.count32, arguments.runs, run);
        measured.bits32.runs.push(timed(draws, || device.rand32().map(u64::from))?);
        progress.show(run, "64 bits");
        let draws = share(arguments.count64, arguments.runs, run);
        measured.bits64.runs.push(timed(draws, || device.rand64())?);
    }
    Ok(measured)
}

fn timed(draws: u32, mut draw: impl FnMut() -> Result<u64, Error>) -> Result<Run, Error> {
    let mut sum = 0_u64;
    let start = Instant::now();
    for _ in 0..draws {
        // A program uses what it draws.
        sum = sum.wrapping_add(draw()?);
    }
    let time = start.elapsed();
    black_box(sum);
    Ok(Run { draws, time })
}

/// How many of `count` draws fall to run number `run`; the shares differ by one at most.
fn share(count: u32, runs: u32, run: u32) -> u32 {
    let extra = count.checked_rem(runs).unwrap_or(0);
    count.checked_div(runs).unwrap_or(0).saturating_add(u32::from(run < extra))
}

impl Width {
    fn new(name: &'static str, bytes: u32) -> Self {
        Self { name, bytes, runs: Vec::new() }
    }

    /// Draws per second; `None` before the first run, as the following.
    pub(crate) fn draws_per_second(&self) -> Option<Row> {
        self.row("_ops", "op/s", |run| f64::from(run.draws) / run.seconds())
    }

    /// Bytes per second.
    pub(crate) fn bytes_per_second(&self) -> Option<Row> {
        self.row("", "B/s", |run| f64::from(run.draws) * f64::from(self.bytes) / run.seconds())
    }

    /// Time of one draw.
    pub(crate) fn nanoseconds(&self) -> Option<Row> {
        self.row("_ns", "ns", |run| run.seconds() * 1e9 / f64::from(run.draws))
    }

    fn row(&self, suffix: &str, unit: &'static str, value: impl Fn(&Run) -> f64) -> Option<Row> {
        let values: Vec<f64> = self.runs.iter().map(value).collect();
        Row::of(format!("rng.ioctl_{}{suffix}", self.name), unit, &values)
    }
}

impl Run {
    /// Never 0, however coarse the clock is.
    fn seconds(&self) -> f64 {
        self.time.max(Duration::from_nanos(1)).as_secs_f64()
    }
}

impl Measured {
    /// The rows for the report.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let widths = [&self.bits32, &self.bits64].into_iter();
        widths.flat_map(|w| [w.bytes_per_second(), w.draws_per_second(), w.nanoseconds()]).flatten().collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two runs: 32 bits at 10 and 20 µs a draw, 64 bits at twice that.
    pub(crate) fn example() -> Measured {
        let run = |draws: u32, millis| Run { draws, time: Duration::from_millis(millis) };
        let mut measured = Measured { bits32: Width::new("rand32", 4), bits64: Width::new("rand64", 8) };
        measured.bits32.runs = vec![run(100_000, 1000), run(100_000, 2000)];
        measured.bits64.runs = vec![run(100_000, 2000), run(100_000, 4000)];
        measured
    }

    #[test]
    fn the_shares_add_up() {
        assert!((0..5).map(|run| share(1_000_003, 5, run)).eq([200_001, 200_001, 200_001, 200_000, 200_000]));
        assert_eq!(share(7, 0, 0), 0);
    }

    #[test]
    fn the_rows_have_the_names_and_units_of_the_bench_format() {
        let rows = example().rows();
        let names: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.unit, row.median)).collect();
        let expected = [
            ("rng.ioctl_rand32", "B/s", 300_000.0),
            ("rng.ioctl_rand32_ops", "op/s", 75_000.0),
            ("rng.ioctl_rand32_ns", "ns", 15_000.0),
            ("rng.ioctl_rand64", "B/s", 300_000.0),
            ("rng.ioctl_rand64_ops", "op/s", 37_500.0),
            ("rng.ioctl_rand64_ns", "ns", 30_000.0),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_run_counts_its_draws_and_passes_errors_on() {
        let mut calls = 0_u64;
        let run = timed(10, || {
            calls += 1;
            Ok(calls)
        });
        assert_eq!((run.unwrap().draws, calls), (10, 10));
        let gone = Device::open("/dev/my_rng_that_is_not_there").unwrap_err();
        assert_eq!(timed(10, || Err(gone.clone())).unwrap_err(), gone);
    }
}
