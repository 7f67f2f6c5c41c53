// SPDX-License-Identifier: MIT OR Apache-2.0
//! One slice of a measurement: threads, each pinned to a CPU of its own, draw for a while and add up what they got.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Failure;
use crate::sources::{Source, Ways};

/// What some threads did at the same time, over one or several slices of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// Bytes per second, all threads together, added up over the slices.
    rates: f64,
    slices: f64,
    operations: f64,
    /// Seconds, all threads' added.
    time: f64,
}

impl Sample {
    /// Bytes per second, all threads together.
    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.rates / self.slices
    }

    /// Nanoseconds from one operation of a thread to its next.
    pub(crate) fn nanoseconds(&self) -> f64 {
        self.time * 1e9 / self.operations
    }

    /// A slice in which each thread did so many operations and got so many bytes in that time.
    pub(crate) fn of_slice(threads: &[(u64, u64, Duration)]) -> Self {
        let mut slice = Self { slices: 1.0, ..Self::default() };
        for &(operations, bytes, time) in threads {
            // Never 0, however coarse the clock is.
            let seconds = time.max(Duration::from_nanos(1)).as_secs_f64();
            slice.rates += bytes as f64 / seconds;
            slice.operations += operations as f64;
            slice.time += seconds;
        }
        slice
    }

    /// Adds another slice of the same run.
    pub(crate) fn add(&mut self, slice: Self) {
        self.rates += slice.rates;
        self.slices += slice.slices;
        self.operations += slice.operations;
        self.time += slice.time;
    }
}

/// Draws with `threads` threads for about `window`.
pub(crate) fn slice(way: &dyn Ways, threads: usize, window: Duration) -> Result<Sample, Failure> {
    way.select()?;
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let spawn = |cpu| {
            let start = &start;
            scope.spawn(move || {
                let source = pin(cpu).and_then(|()| way.open());
                // Before any error is passed on: the other threads wait here, too.
                start.wait();
                let mut source = source?;
                // Page faults, cold caches, and what was made in advance while nobody drew.
                draw(source.as_mut(), window / WARM_UP)?;
                draw(source.as_mut(), window)
            })
        };
        let running: Vec<_> = cpus()?.into_iter().cycle().take(threads).map(spawn).collect();
        let drawn: Result<Vec<_>, Failure> = running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a measuring thread panicked")?)
            .collect();
        Ok(Sample::of_slice(&drawn?))
    })
}

/// The part of a window that threads draw for before they are measured.
const WARM_UP: u32 = 5;

fn draw(source: &mut dyn Source, window: Duration) -> Result<(u64, u64, Duration), Failure> {
    let (mut operations, mut bytes, mut sum) = (0_u64, 0_u64, 0_u64);
    let start = Instant::now();
    loop {
        let step = source.step()?;
        operations = operations.saturating_add(step.operations);
        bytes = bytes.saturating_add(step.bytes);
        sum = sum.wrapping_add(step.sum);
        let time = start.elapsed();
        if time >= window {
            black_box(sum);
            return Ok((operations, bytes, time));
        }
    }
}

/// The CPUs that this program may use.
pub(crate) fn cpus() -> Result<Vec<usize>, Failure> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect())
}

fn pin(cpu: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Step;

    /// Sleeps a millisecond a step, and fails once it has been opened too often.
    struct Slow {
        fails: bool,
    }

    struct Open {
        fails: bool,
    }

    impl Ways for Slow {
        fn open(&self) -> Result<Box<dyn Source>, Failure> {
            Ok(Box::new(Open { fails: self.fails }))
        }
    }

    impl Source for Open {
        fn step(&mut self) -> Result<Step, Failure> {
            if self.fails {
                return Err("broken".into());
            }
            thread::sleep(Duration::from_millis(1));
            Ok(Step { operations: 2, bytes: 16, sum: 1 })
        }
    }

    #[test]
    fn the_rates_of_all_threads_add_up() {
        let mut sample = slice(&Slow { fails: false }, 2, Duration::from_millis(20)).unwrap();
        sample.add(slice(&Slow { fails: false }, 2, Duration::from_millis(20)).unwrap());
        // A step takes a millisecond at least: 2 × 16 kB/s at most, and half a millisecond an operation at least.
        assert!(sample.bytes_per_second() > 0.0 && sample.bytes_per_second() <= 32_000.0, "{sample:?}");
        assert!(sample.nanoseconds() >= 500_000.0, "{sample:?}");
    }

    #[test]
    fn a_broken_source_ends_all_threads() {
        let error = slice(&Slow { fails: true }, 3, Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.to_string(), "broken");
    }
}
