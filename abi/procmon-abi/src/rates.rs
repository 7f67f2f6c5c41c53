// SPDX-License-Identifier: MIT OR Apache-2.0
//! How fast processes come and go, over the last second, the last ten, the last minute.
//!
//! Samples of counters that only ever go up are kept for as long as the longest window; a rate is the
//! difference between the newest and the one that is as old as the window, divided by the time that
//! really lies between them. This file is arithmetic only, the same for both kernels.

use core::fmt;

/// The windows in seconds.
pub const WINDOWS: [u32; 3] = [1, 10, 60];

/// How many samples are kept: for each second of the longest window one, and one at its far end.
const KEPT: usize = 61;

/// Samples closer together than this replace each other, so that a short interval of the sampler does
/// not shorten what is kept. A little below a second: timers are never early, but can be late.
const APART_NS: u64 = 950_000_000;

const NS_PER_MS: u64 = 1_000_000;

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// The moment, in nanoseconds of any clock.
    pub time: u64,
    /// Processes that were made, since any moment.
    pub forks: u64,
    /// Programs that were started.
    pub execs: u64,
    /// Processes that have ended.
    pub exits: u64,
    /// Sum of what was found runnable in all samples so far.
    pub runnable: u64,
    /// How many samples that were.
    pub count: u64,
}

/// Rates in thousandths: a second for the first three, on average for the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Processes that were made.
    pub forks: u64,
    /// Programs that were started.
    pub execs: u64,
    /// Processes that have ended.
    pub exits: u64,
    /// Runnable threads.
    pub runnable: u64,
}

/// The samples of the longest window.
#[derive(Debug)]
pub struct History {
    /// In a ring: the newest at `newest`, the next older one before it, and so on.
    samples: [Sample; KEPT],
    newest: usize,
    /// How many there are.
    filled: usize,
}

impl History {
    /// Before the first sample.
    pub const EMPTY: Self = Self {
        samples: [Sample { time: 0, forks: 0, execs: 0, exits: 0, runnable: 0, count: 0 }; KEPT],
        newest: 0,
        filled: 0,
    };

    /// Adds a sample, later than all before.
    pub fn add(&mut self, sample: Sample) {
        // The newest is replaced for as long as it is close to the one before it.
        let keep = match self.back(1) {
            Some(before) => {
                let newest = self.back(0).map_or(0, |newest| newest.time);
                newest.saturating_sub(before.time) >= APART_NS
            }
            None => true,
        };
        if keep {
            self.newest = next(self.newest);
            self.filled = (self.filled + 1).min(KEPT);
        }
        if let Some(place) = self.samples.get_mut(self.newest) {
            *place = sample;
        }
    }

    /// Returns the rates over the last `seconds`, or over as much of them as there are samples for.
    pub fn rates(&self, seconds: u32) -> Rates {
        let Some(newest) = self.back(0) else {
            return Rates::default();
        };
        let window = u64::from(seconds) * 1000 * NS_PER_MS;
        // A sample that is late by a little still belongs to the window.
        let enough = window.saturating_sub(1000 * NS_PER_MS - APART_NS);

        let mut then = newest;
        for age in 1..self.filled {
            then = self.back(age).unwrap_or(then);
            if newest.time.saturating_sub(then.time) >= enough {
                break;
            }
        }

        let milliseconds = newest.time.saturating_sub(then.time) / NS_PER_MS;
        let per_second = |now: u64, then: u64| {
            let difference = now.saturating_sub(then).saturating_mul(1_000_000);
            difference.checked_div(milliseconds).unwrap_or(0)
        };
        let runnable = newest.runnable.saturating_sub(then.runnable);
        let samples = newest.count.saturating_sub(then.count);
        Rates {
            forks: per_second(newest.forks, then.forks),
            execs: per_second(newest.execs, then.execs),
            exits: per_second(newest.exits, then.exits),
            runnable: runnable.saturating_mul(1000).checked_div(samples).unwrap_or(0),
        }
    }

    /// Returns the sample that is so many before the newest.
    fn back(&self, age: usize) -> Option<Sample> {
        if age >= self.filled {
            return None;
        }
        let index = match self.newest.checked_sub(age) {
            Some(index) => index,
            None => (self.newest + KEPT).checked_sub(age)?,
        };
        self.samples.get(index).copied()
    }
}

fn next(index: usize) -> usize {
    if index + 1 < KEPT { index + 1 } else { 0 }
}

/// Shows thousandths as a number with three decimals.
#[derive(Clone, Copy, Debug)]
pub struct Milli(pub u64);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
