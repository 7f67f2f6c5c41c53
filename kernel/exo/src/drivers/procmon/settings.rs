// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files in /sys: statistics and settings, where Linux's module and a module that is built into Linux have them. `ring_events` is set
//! by `procmon.ring_events=N` on the kernel's command line.

use core::{
    fmt::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloc::{format, string::String};

use exo_logic::boot_options;
use procmon_abi::rates::{Milli, WINDOWS};

use super::{events, filter, operations, sampler};
use crate::{
    errno::{Errno, Result},
    fs::sysfs,
};

/// A setting in whole numbers.
struct Number {
    value: AtomicUsize,
    least: usize,
    most: usize,
}

impl Number {
    const fn new(value: usize, least: usize, most: usize) -> Self {
        Self { value: AtomicUsize::new(value), least, most }
    }

    fn get(&self) -> usize {
        self.value.load(Ordering::Relaxed)
    }

    fn set(&self, text: &str) -> Result<()> {
        let value = text.parse().ok().filter(|value| (self.least..=self.most).contains(value));
        self.value.store(value.ok_or(Errno::EINVAL)?, Ordering::Relaxed);
        Ok(())
    }

    fn show(&self) -> String {
        format!("{}\n", self.get())
    }
}

/// Longest message in bytes.
static BUFFER_SIZE: Number = Number::new(1024, 1, 1 << 20);
/// Milliseconds between two samples.
static INTERVAL: Number = Number::new(1000, 10, 60_000);
/// Events in each CPU's ring: a power of two.
static RING_EVENTS: Number = Number::new(4096, 64, 1 << 20);

/// Longest message in bytes.
pub(super) fn buffer_size() -> usize {
    BUFFER_SIZE.get()
}

/// Nanoseconds between two samples.
pub(super) fn interval_ns() -> u64 {
    INTERVAL.get() as u64 * 1_000_000
}

/// Events in each CPU's ring, as the command line says it.
pub(super) fn ring_events() -> Result {
    let line = exo_hal::boot::info().command_line;
    if let Some(value) = boot_options::value(line, "procmon.ring_events") {
        RING_EVENTS.set(value)?;
    }
    if RING_EVENTS.get().is_power_of_two() { Ok(RING_EVENTS.get()) } else { Err(Errno::EINVAL) }
}

/// Adds the files.
pub(super) fn add() {
    sysfs::add_text("class/procmon/procmon/stats", stats);
    for path in ["class/procmon/procmon/buffer_size", "module/procmon/parameters/buffer_size"] {
        sysfs::add_setting(path, || BUFFER_SIZE.show(), |text| BUFFER_SIZE.set(text));
    }
    let interval = "module/procmon/parameters/interval_ms";
    sysfs::add_setting(interval, || INTERVAL.show(), |text| INTERVAL.set(text));
    sysfs::add_text("module/procmon/parameters/ring_events", || RING_EVENTS.show());
}

fn stats() -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_stats(&mut out);
    out
}

fn write_stats(out: &mut String) -> core::fmt::Result {
    let totals = operations::totals();
    writeln!(out, "opens: {}", totals.opens)?;
    writeln!(out, "reads: {}", totals.reads)?;
    writeln!(out, "writes: {}", totals.writes)?;
    writeln!(out, "ioctls: {}", totals.ioctls)?;
    writeln!(out, "per_cpu_ops: {}", totals.all())?;
    writeln!(out, "filter_pid: {}", filter::number())?;
    writeln!(out, "event_readers: {}", events::readers())?;
    writeln!(out, "events: {}", events::recorded())?;
    for seconds in WINDOWS {
        let rates = sampler::rates(seconds);
        writeln!(out, "forks_per_second_{seconds}s: {}", Milli(rates.forks))?;
        writeln!(out, "execs_per_second_{seconds}s: {}", Milli(rates.execs))?;
        writeln!(out, "exits_per_second_{seconds}s: {}", Milli(rates.exits))?;
        writeln!(out, "runnable_{seconds}s: {}", Milli(rates.runnable))?;
    }
    Ok(())
}
