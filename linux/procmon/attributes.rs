// SPDX-License-Identifier: GPL-2.0

//! The files in `/sys/class/procmon/procmon/`.
//!
//! | file | shows | takes |
//! | --- | --- | --- |
//! | `stats` | one `name: value` a line | |
//! | `buffer_size` | how long a message can be, in bytes | the same; also a module parameter |

use crate::{
    chardev::{
        Attribute,
        AttributeGroups,
        SysfsBuffer, //
    },
    monitor::Monitor,
    parameters,
    rates::{
        Milli,
        WINDOWS, //
    },
};
use core::fmt::{
    self,
    Write, //
};
use kernel::prelude::*;

/// The attributes of the node.
pub(crate) fn of_monitor() -> &'static AttributeGroups<Monitor> {
    AttributeGroups::of::<(Stats, BufferSize)>()
}

struct Stats;

#[vtable]
impl Attribute for Stats {
    type Device = Monitor;

    const NAME: &'static CStr = c"stats";

    // As the node, which tells the same.
    const MODE: Option<u16> = Some(0o400);

    fn show(monitor: &Monitor, page: &mut SysfsBuffer<'_>) -> Result {
        write_stats(monitor, page).map_err(|_| ENOSPC)
    }
}

fn write_stats(monitor: &Monitor, page: &mut SysfsBuffer<'_>) -> fmt::Result {
    let totals = monitor.operations.totals();
    writeln!(page, "opens: {}", totals.opens)?;
    writeln!(page, "reads: {}", totals.reads)?;
    writeln!(page, "writes: {}", totals.writes)?;
    writeln!(page, "ioctls: {}", totals.ioctls)?;
    writeln!(page, "per_cpu_ops: {}", totals.all())?;
    writeln!(
        page,
        "filter_pid: {}",
        monitor.events.filter().number_in_current_ns()
    )?;
    writeln!(page, "event_readers: {}", monitor.events.readers())?;
    writeln!(page, "events: {}", monitor.events.rings().recorded())?;

    for seconds in WINDOWS {
        let rates = monitor.sampler.rates(seconds);
        writeln!(page, "forks_per_second_{seconds}s: {}", Milli(rates.forks))?;
        writeln!(page, "execs_per_second_{seconds}s: {}", Milli(rates.execs))?;
        writeln!(page, "exits_per_second_{seconds}s: {}", Milli(rates.exits))?;
        writeln!(page, "runnable_{seconds}s: {}", Milli(rates.runnable))?;
    }
    Ok(())
}

struct BufferSize;

#[vtable]
impl Attribute for BufferSize {
    type Device = Monitor;

    const NAME: &'static CStr = c"buffer_size";

    fn show(_monitor: &Monitor, page: &mut SysfsBuffer<'_>) -> Result {
        writeln!(page, "{}", parameters::BUFFER_SIZE.get()).map_err(|_| ENOSPC)
    }

    fn store(_monitor: &Monitor, value: &[u8]) -> Result {
        parameters::BUFFER_SIZE.set_bytes(value)
    }
}
