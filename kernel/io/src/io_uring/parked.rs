// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits in a ring: for a file, a time, or the end of what was submitted before.

use alloc::{collections::VecDeque, vec::Vec};

use exo_logic::uring::Operation;

use super::job::Job;
use crate::fs::poll::{self, Events};

/// Requests that wait.
#[derive(Default)]
pub(super) struct Parked {
    /// For a file or a time. An empty place is that of one that the worker has in hand, or that of one that has gone.
    pub(super) jobs: Vec<Option<Job>>,
    /// The worker tries one of them at this moment.
    pub(super) is_trying: bool,
    /// For all that was submitted before to end, and what came after such a one.
    pub(super) drained: VecDeque<Job>,
    /// There is a worker.
    pub(super) has_worker: bool,
}

impl Parked {
    /// Whether a timeout waits for the `tail`th completion, or an earlier one.
    pub(super) fn counts_to(&self, tail: u32) -> bool {
        self.waiting().any(|job| has_counted(job, tail))
    }

    /// Those that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().flatten()
    }
}

/// Whether a timeout has seen the completions that it waits for, the ring having come to the `tail`th.
pub(super) fn has_counted(job: &Job, tail: u32) -> bool {
    job.target.is_some_and(|target| tail.wrapping_sub(target) as i32 >= 0)
}

/// Whether trying again may help, for a request that waits for its file.
pub(super) fn may_go_on(job: &Job) -> bool {
    let Some(file) = &job.file else { return false };
    let asked = match job.operation {
        Operation::Transfer(transfer) if transfer.write => Events::OUT,
        Operation::Transfer(_) => Events::IN,
        Operation::Poll { events } => Events::from_bits_truncate(events),
        _ => return false,
    };
    !poll::ready(file, asked).is_empty()
}

/// Whether the worker has to do something about a request that waits; the ring has come to the `tail`th completion.
pub(super) fn is_due(job: &Job, tail: u32, now: u64) -> bool {
    match job.operation {
        Operation::Timeout { .. } => has_counted(job, tail) || job.deadline <= now,
        Operation::Transfer(_) | Operation::Poll { .. } => job.is_untried || may_go_on(job),
        _ => true,
    }
}
