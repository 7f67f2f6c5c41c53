// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long an operation takes: many in a slice of time, several slices, of which the median counts. A slice in which the
//! host did something else is then left out.

use std::time::{Duration, Instant};

use crate::Failure;

/// Slices of a window.
const SLICES: u32 = 9;
/// Operations between two looks at the clock, at most.
const LARGEST_BATCH: u64 = 1 << 16;

/// Nanoseconds that one operation takes; `operations` does as many as it is told. The first slice warms up and does not count.
pub(crate) fn nanoseconds(
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
