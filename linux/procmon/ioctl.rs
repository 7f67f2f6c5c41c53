// SPDX-License-Identifier: GPL-2.0

//! `ioctl(2)` on `/dev/procmon`: which command does what, and the copying between program and
//! module.
//!
//! A command's number contains the size of its argument, so a structure of another size is another
//! command: `ENOTTY`. 32-bit programs have an `unsigned long` of their own and so have their own
//! [`GET_STATS_32`] and [`QUERY_PID_32`]; the rest is the same for them.

use crate::{
    abi::ioctl::{
        Query,
        Query32,
        Stats,
        Stats32,
        GET_COUNT,
        GET_STATS,
        GET_STATS_32,
        QUERY_PID,
        QUERY_PID_32,
        RESET,
        SET_FILTER,
        SNAPSHOT, //
    },
    chardev::user::{
        get,
        put, //
    },
    mechanisms::Process,
    monitor::Monitor,
    snapshot, //
};
use kernel::{
    prelude::*,
    sync::rcu,
    uaccess::UserPtr, //
};

/// A command of a program as wide as the kernel.
pub(crate) fn native(monitor: &Monitor, command: u32, argument: usize) -> Result<isize> {
    let argument = UserPtr::from_addr(argument);
    match command {
        GET_STATS => put(argument, &stats(monitor))?,
        QUERY_PID => put(argument, &query(get::<Query>(argument)?))?,
        _ => return common(monitor, command, argument),
    }
    Ok(0)
}

/// A command of a 32-bit program on a 64-bit kernel.
pub(crate) fn compat(monitor: &Monitor, command: u32, argument: usize) -> Result<isize> {
    let argument = UserPtr::from_addr(argument);
    match command {
        GET_STATS_32 => put(argument, &Stats32::from(stats(monitor)))?,
        QUERY_PID_32 => {
            let Query32 { pid, .. } = get(argument)?;
            let answer = query(Query {
                pid,
                ..Query::default()
            });
            put(argument, &Query32::from(answer))?;
        }
        _ => return common(monitor, command, argument),
    }
    Ok(0)
}

/// The commands that are the same for both.
fn common(monitor: &Monitor, command: u32, argument: UserPtr) -> Result<isize> {
    match command {
        RESET => monitor.operations.reset(),
        GET_COUNT => put(argument, &i32::try_from(monitor.message.length())?)?,
        SET_FILTER => monitor.events.filter().set(get(argument)?)?,
        SNAPSHOT => snapshot::take(argument)?,
        _ => return Err(ENOTTY),
    }
    Ok(0)
}

fn stats(monitor: &Monitor) -> Stats {
    let totals = monitor.operations.totals();
    Stats {
        total_opens: totals.opens,
        total_reads: totals.reads,
        total_writes: totals.writes,
        total_ioctls: totals.ioctls,
        current_filter_pid: monitor.events.filter().number_in_current_ns(),
        padding: 0,
    }
}

/// Answers a query: nothing of the program's but `pid` is in the answer.
fn query(Query { pid, .. }: Query) -> Query {
    let guard = rcu::read_lock();
    match Process::find(pid, &guard) {
        Some(process) => Query {
            pid,
            comm: process.name(),
            // CAST: A single flag among the lowest bits.
            state: process.state() as i32,
            vsize: process.memory().mapped,
        },
        None => Query {
            pid,
            comm: [0; 16],
            state: -1,
            vsize: 0,
        },
    }
}
