// SPDX-License-Identifier: GPL-2.0

//! All processes at once.
//!
//! They are walked in one RCU read section: who was there when it began and is there when it ends
//! is in the snapshot once, and nobody is in it twice. In that section nothing may sleep, so the
//! memory is allocated before and copied to the program after.

use crate::{
    abi::{
        ioctl::Snapshot,
        process::Record, //
    },
    chardev::user::{
        get,
        put, //
    },
    cpu_time::adjusted,
    mechanisms::Process, //
};
use kernel::{
    prelude::*,
    sync::rcu,
    transmute::AsBytes,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// How many processes may be born between counting and walking without another try.
const SPARE: usize = 32;

/// How often a try is made while they are born faster than that.
const TRIES: u32 = 16;

/// Does what [`SNAPSHOT`](crate::abi::ioctl::SNAPSHOT) asks, with the [`Snapshot`] at `argument`.
///
/// # Errors
///
/// [`ENOSPC`] if there are more processes than the program has room for; it is told how many.
/// [`EFAULT`], [`ENOMEM`]; [`EAGAIN`] while processes multiply faster than we can count.
pub(crate) fn take(argument: UserPtr) -> Result {
    let request: Snapshot = get(argument)?;
    // CAST: Lossless, `usize` has at least 32 bits.
    let capacity = request.capacity as usize;

    let mut count = visible();
    for _ in 0..TRIES {
        if count > capacity {
            put(argument, &answer(request, count)?)?;
            return Err(ENOSPC);
        }
        let mut records = KVVec::with_capacity(count.saturating_add(SPARE), GFP_KERNEL)?;
        count = fill(&mut records);
        if count == records.len() && count <= capacity {
            let address = usize::try_from(request.records).map_err(|_| EFAULT)?;
            let records = records.as_slice().as_bytes();
            UserSlice::new(UserPtr::from_addr(address), records.len())
                .writer()
                .write_slice(records)?;
            return put(argument, &answer(request, count)?);
        }
    }
    Err(EAGAIN)
}

fn answer(request: Snapshot, count: usize) -> Result<Snapshot> {
    Ok(Snapshot {
        count: u32::try_from(count)?,
        ..request
    })
}

/// Counts the processes that the caller's PID namespace has.
fn visible() -> usize {
    let guard = rcu::read_lock();
    Process::all(&guard)
        .filter(|process| process.ids_in_current_ns().tgid != 0)
        .count()
}

/// Fills in as many processes as there is room for without allocating. Returns how many there are.
fn fill(records: &mut KVVec<Record>) -> usize {
    let guard = rcu::read_lock();
    let mut count = 0;

    for process in Process::all(&guard) {
        if let Some(record) = record(process) {
            count += 1;
            // Too many for it: the caller sees that from the count.
            let _ = records.push_within_capacity(record);
        }
    }
    count
}

/// Describes a process; `None` if it is not to be seen in the caller's PID namespace, or is being
/// removed.
fn record(process: Process<'_>) -> Option<Record> {
    let ids = process.ids_in_current_ns();
    if ids.tgid == 0 {
        return None;
    }
    let memory = process.memory();
    let times = process.times();
    let times = adjusted(times.user, times.system, times.running);

    Some(Record {
        pid: ids.tgid,
        tgid: ids.tgid,
        ppid: ids.ppid,
        uid: process.uid_in_current_ns(),
        state: process.state(),
        threads: process.thread_count(),
        comm: process.name(),
        vsize: memory.mapped,
        rss: memory.resident,
        utime: times.user,
        stime: times.system,
        start: process.start_in_current_ns(),
    })
}
