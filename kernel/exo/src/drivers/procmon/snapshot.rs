// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of a process, for one or for all at once.

use alloc::sync::Arc;

use exo_hal::PAGE_SIZE;
use procmon_abi::process::{RECORD_SIZE, Record, state};

use super::bytes;
use crate::{
    errno::{Errno, Result},
    fallible,
    task::{Process, Status, Task, table},
    user,
};

/// State of a thread.
fn state_of(thread: &Task) -> u32 {
    match *thread.process.status.lock() {
        Status::Ended(_) => state::ZOMBIE,
        Status::Stopped { .. } => state::STOPPED,
        _ if thread.state.is_runnable() => state::RUNNING,
        _ => state::INTERRUPTIBLE,
    }
}

/// Name, state and size of the address space of a process or thread.
pub(super) fn find(number: i32) -> Option<([u8; 16], u32, u64)> {
    let number = u32::try_from(number).ok()?;
    if let Some(thread) = table::task(number) {
        let memory = thread.memory();
        return Some((thread.name.lock().0, state_of(&thread), memory.mapped_bytes() as u64));
    }
    let process = table::process(number)?;
    let record = record(&process);
    Some((record.comm, record.state, record.vsize))
}

fn record(process: &Arc<Process>) -> Record {
    let memory = process.memory.lock().clone();
    let (first, threads) = {
        let threads = process.threads.lock();
        (threads.get(&process.pid).cloned(), threads.len())
    };
    let pid = process.pid as i32;
    Record {
        pid,
        tgid: pid,
        ppid: process.parent.lock().upgrade().map_or(0, |parent| parent.pid as i32),
        uid: 0,
        state: first.map_or(state::ZOMBIE, |first| state_of(&first)),
        threads: threads as u32,
        comm: process.name().0,
        vsize: memory.mapped_bytes() as u64,
        rss: memory.resident_pages() as u64 * PAGE_SIZE as u64,
        // Which part of its time a program spends in the kernel is not known.
        utime: process.cpu_ns(),
        stime: 0,
        start: process.started,
    }
}

/// Does what SNAPSHOT asks, with the `struct procmon_snapshot` at `argument`. The processes are those that the table had at one
/// moment.
pub(super) fn take(argument: usize) -> Result {
    let [low, high, capacity, _]: [u32; 4] = user::read(argument)?;
    let address = usize::try_from((u64::from(high) << 32) | u64::from(low)).map_err(|_| Errno::EFAULT)?;
    let processes = table::processes();
    let answer = [low, high, capacity, processes.len() as u32];
    if processes.len() > capacity as usize {
        user::write(argument, &answer)?;
        return Err(Errno::ENOSPC);
    }
    let size = processes.len().checked_mul(RECORD_SIZE).ok_or(Errno::ENOMEM)?;
    let mut out = fallible::list(size)?;
    for process in &processes {
        out.extend_from_slice(&bytes::record(&record(process)));
    }
    user::copy_out(address, &out)?;
    user::write(argument, &answer)?;
    Ok(0)
}
