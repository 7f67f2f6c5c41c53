// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for children.

use core::{ops::RangeInclusive, sync::atomic::Ordering};

use alloc::sync::Arc;

use super::{Process, Status, core_dump::DUMPED, current, process::Usage, table};
use crate::{
    errno::{Errno, Result},
    sched::{spans, wait::wait_for},
    signal::{code, number},
};

/// Children that are looked at with the list locked.
const LOOKED_AT: usize = 128;

/// Which children.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// Any child.
    Any,
    /// The child with this number.
    Pid(u32),
    /// The children in this process group.
    Group(u32),
}

/// Which changes, and whether to wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Ended children.
    pub ended: bool,
    /// Stopped children.
    pub stopped: bool,
    /// Children that go on again.
    pub continued: bool,
    /// Do not wait.
    pub no_wait: bool,
    /// Leave the child as it is, to be waited for again.
    pub keep: bool,
    /// Children that report their end with another signal than SIGCHLD, instead of the others (__WCLONE).
    pub clones: bool,
    /// All children, whatever they report with (__WALL).
    pub all: bool,
    /// Only the calling thread's (__WNOTHREAD).
    pub own: bool,
}

/// What a wait found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The child.
    pub pid: u32,
    /// Its real user.
    pub uid: u32,
    /// Its status in wait4's form.
    pub status: u32,
    /// What it used.
    pub usage: Usage,
}

/// What a status in wait4's form is for waitid: si_code and si_status.
pub fn code_and_value(status: u32) -> (i32, u32) {
    match (status, status & 0x7f) {
        (CONTINUED, _) => (code::CLD_CONTINUED, number::SIGCONT),
        (_, STOPPED) => (code::CLD_STOPPED, (status >> 8) & 0xff),
        (_, 0) => (code::CLD_EXITED, (status >> 8) & 0xff),
        (_, signal) if status & DUMPED != 0 => (code::CLD_DUMPED, signal),
        (_, signal) => (code::CLD_KILLED, signal),
    }
}

/// In a status: goes on.
const CONTINUED: u32 = 0xffff;
/// In the low bits of a status: stopped.
const STOPPED: u32 = 0x7f;

fn usage_of(child: &Process) -> Usage {
    let own = *child.children_usage.lock();
    let mut counts = child.counts();
    counts.add(&own.counts);
    Usage {
        counts,
        cpu_ns: child.cpu_ns() + own.cpu_ns,
        user_ns: child.user_ns() + own.user_ns,
        peak_pages: own.peak_pages,
    }
}

/// Removes an ended child for good, without waiting for it.
pub fn forget(parent: &Process, child: &Process) {
    let removed = parent.children.lock().remove(&child.pid);
    if removed.is_some() {
        table::remove_process(child.pid);
    }
}

/// What there is to say about a child, if it is what a wait is for; and whether it has ended.
fn change(child: &Process, options: Options) -> Option<(u32, bool)> {
    let mut status = child.status.lock();
    match *status {
        Status::Ended(value) if options.ended => Some((value, true)),
        Status::Stopped { signal, told: false } if options.stopped => {
            if !options.keep {
                *status = Status::Stopped { signal, told: true };
            }
            Some(((signal << 8) | STOPPED, false))
        }
        Status::Continued if options.continued => {
            if !options.keep {
                *status = Status::Running;
            }
            Some((CONTINUED, false))
        }
        _ => None,
    }
}

fn is_meant(child: &Process, which: Which, options: Options) -> bool {
    let chosen = match which {
        Which::Any => true,
        Which::Pid(pid) => child.pid == pid,
        Which::Group(group) => child.group.load(Ordering::Relaxed) == group,
    };
    let is_clone = child.exit_signal.load(Ordering::Relaxed) != number::SIGCHLD;
    chosen
        && (options.all || is_clone == options.clones)
        && (!options.own || child.parent_thread.load(Ordering::Relaxed) == current().tid())
}

/// A child that has something to say.
struct Change {
    child: Arc<Process>,
    status: u32,
    /// It has ended, and nobody else gets it.
    is_taken: bool,
}

/// The first of the children with a number in `pids` that has something to say, and whether any is meant at all.
fn first_change(
    parent: &Process,
    pids: RangeInclusive<u32>,
    options: Options,
    which: Which,
) -> (Option<Change>, bool) {
    let (mut any, mut next) = (false, *pids.start());
    loop {
        // An ended child is taken out of the list under the same lock, so that one thread alone gets it.
        let mut children = parent.children.lock();
        let mut last = None;
        let mut found = None;
        for (&pid, child) in children.range(next..=*pids.end()).take(LOOKED_AT) {
            last = Some(pid);
            if !is_meant(child, which, options) {
                continue;
            }
            any = true;
            if let Some((status, has_ended)) = change(child, options) {
                found = Some(Change { child: child.clone(), status, is_taken: has_ended && !options.keep });
                break;
            }
        }
        if let Some(found) = found {
            if found.is_taken {
                children.remove(&found.child.pid);
            }
            return (Some(found), true);
        }
        drop(children);
        match last {
            Some(last) if last < *pids.end() => next = last + 1,
            _ => return (None, any),
        }
        // Who is to end finds that out when it waits.
        let _ = spans::point();
    }
}

fn look(parent: &Arc<Process>, which: Which, options: Options) -> Option<Result<Option<Found>>> {
    let pids = if let Which::Pid(pid) = which { pid..=pid } else { 0..=u32::MAX };
    match first_change(parent, pids, options, which) {
        (Some(Change { child, status, is_taken }), _) => {
            let usage = usage_of(&child);
            if is_taken {
                let mut sum = parent.children_usage.lock();
                sum.cpu_ns += usage.cpu_ns;
                sum.user_ns += usage.user_ns;
                sum.peak_pages = sum.peak_pages.max(usage.peak_pages);
                sum.counts.add(&usage.counts);
                drop(sum);
                table::remove_process(child.pid);
            }
            Some(Ok(Some(Found { pid: child.pid, uid: child.user_id(), status, usage })))
        }
        (None, false) => Some(Err(Errno::ECHILD)),
        (None, true) if options.no_wait => Some(Ok(None)),
        (None, true) => None,
    }
}

/// Waits for a child to change; `None` if none has and `no_wait` was asked for.
pub fn wait(which: Which, options: Options) -> Result<Option<Found>> {
    let process = current().process.clone();
    wait_for(&process.child_changed, || look(&process, which, options)).map_err(|_| Errno::RESTART)?
}
