// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files in /sys: statistics and settings, where Linux's module and a module that is built into Linux have them.

use core::fmt::Write;

use alloc::string::String;

use procmon_abi::rates::{Milli, WINDOWS};

use super::{
    events, filter, operations, sampler,
    settings::{BUFFER_SIZE, INTERVAL, RING_EVENTS},
};
use exo_fs::sysfs;

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
