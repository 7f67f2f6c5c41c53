// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for children.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use super::{Process, Status, current, process::Usage, table};
use crate::{
    errno::{Errno, Result},
    sched::wait::wait_for,
};

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
}

/// What a wait found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The child.
    pub pid: u32,
    /// Its status in wait4's form.
    pub status: u32,
    /// What it used.
    pub usage: Usage,
}

/// Removes an ended child for good.
pub fn reap(parent: &Arc<Process>, child: &Arc<Process>) -> Usage {
    let own = *child.children_usage.lock();
    let usage = Usage { cpu_ns: child.cpu_ns() + own.cpu_ns, peak_pages: own.peak_pages };
    {
        let mut sum = parent.children_usage.lock();
        sum.cpu_ns += usage.cpu_ns;
        sum.peak_pages = sum.peak_pages.max(usage.peak_pages);
    }
    let removed = {
        let mut children = parent.children.lock();
        children.iter().position(|c| c.pid == child.pid).map(|at| children.swap_remove(at))
    };
    drop(removed);
    table::remove_process(child.pid);
    usage
}

fn look(parent: &Arc<Process>, which: Which, options: Options) -> Option<Result<Option<Found>>> {
    let mut any = false;
    let mut found = None;
    {
        let children = parent.children.lock();
        let fits = |child: &&Arc<Process>| match which {
            Which::Any => true,
            Which::Pid(pid) => child.pid == pid,
            Which::Group(group) => child.group.load(Ordering::Relaxed) == group,
        };
        for child in children.iter().filter(fits) {
            any = true;
            let mut status = child.status.lock();
            let value = match *status {
                Status::Ended(value) if options.ended => value,
                Status::Stopped { signal, told: false } if options.stopped => {
                    if !options.keep {
                        *status = Status::Stopped { signal, told: true };
                    }
                    (signal << 8) | 0x7f
                }
                Status::Continued if options.continued => {
                    if !options.keep {
                        *status = Status::Running;
                    }
                    0xffff
                }
                _ => continue,
            };
            found = Some((child.clone(), value, matches!(*status, Status::Ended(_))));
            break;
        }
    }
    match found {
        Some((child, status, ended)) => {
            let usage = if ended && !options.keep { reap(parent, &child) } else { Usage::default() };
            Some(Ok(Some(Found { pid: child.pid, status, usage })))
        }
        None if !any => Some(Err(Errno::ECHILD)),
        None if options.no_wait => Some(Ok(None)),
        None => None,
    }
}

/// Waits for a child to change; `None` if none has and `no_wait` was asked for.
pub fn wait(which: Which, options: Options) -> Result<Option<Found>> {
    let process = current().process.clone();
    wait_for(&process.child_changed, || look(&process, which, options)).map_err(|_| Errno::RESTART)?
}
