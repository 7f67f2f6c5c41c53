// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request on its way: a submission entry with all that it names looked up.

use alloc::{sync::Arc, vec::Vec};

use exo_hal::time;
use exo_logic::uring::{
    Entry, Operation,
    entry::{Memory, Refused, flag},
};

use crate::{
    errno::{Errno, Result},
    fs::OpenFile,
    mm::AddressSpace,
    user::{self, IoVec, TimeSpec},
};

/// A request.
pub(super) struct Job {
    /// What its completion has, too.
    pub(super) user_data: u64,
    /// `IOSQE_` flags.
    pub(super) flags: u8,
    /// What is to be done.
    pub(super) operation: Operation,
    /// Its file, if it names one and that is open.
    pub(super) file: Option<Arc<OpenFile>>,
    /// The program's buffers, if there are several.
    pub(super) parts: Vec<IoVec>,
    /// Bytes that are to be moved; fewer break a link.
    pub(super) expected: usize,
    /// When a timeout's time is up, in nanoseconds since boot.
    pub(super) deadline: u64,
    /// The ring's count of completions at which a timeout ends, if it waits for any.
    pub(super) target: Option<u32>,
    /// The memory that its addresses belong to, once it has to wait.
    pub(super) memory: Option<Arc<AddressSpace>>,
    /// What comes after it, the next one last.
    pub(super) rest: Vec<Job>,
    /// Nobody has tried it yet, whatever its file says.
    pub(super) is_untried: bool,
}

impl Job {
    /// Looks at an entry. An error stands for a request that cannot even be begun; the job then only carries it.
    pub(super) fn new(entry: &Entry, file: Option<Arc<OpenFile>>) -> (Self, Result<()>) {
        let mut job = Self {
            user_data: entry.user_data,
            flags: entry.flags,
            operation: Operation::Nop,
            file: None,
            parts: Vec::new(),
            expected: 0,
            deadline: u64::MAX,
            target: None,
            memory: None,
            rest: Vec::new(),
            is_untried: false,
        };
        let prepared = job.prepare(entry, file);
        (job, prepared)
    }

    fn prepare(&mut self, entry: &Entry, file: Option<Arc<OpenFile>>) -> Result<()> {
        self.operation = entry.operation().map_err(|refused| match refused {
            Refused::Invalid => Errno::EINVAL,
            Refused::Unsupported => Errno::EOPNOTSUPP,
        })?;
        if self.operation.has_file() {
            self.file = file;
        }
        match self.operation {
            Operation::Transfer(transfer) => match transfer.memory {
                Memory::Plain { length, .. } | Memory::Registered { length, .. } => {
                    self.expected = length as usize;
                }
                Memory::Vector { address, count } => {
                    // Copied now: the program may use the array again when the submission has returned.
                    self.parts = user::read_vector(address as usize, count as usize)?;
                    self.expected = self.parts.iter().map(|part| part.length).sum();
                }
            },
            Operation::Timeout { time, absolute, wall_clock, .. } => {
                let ns = span(user::read(time as usize)?)?;
                self.deadline = match (absolute, wall_clock) {
                    (false, _) => time::now_ns().saturating_add(ns),
                    (true, false) => ns,
                    (true, true) => time::now_ns().saturating_add(ns.saturating_sub(time::wall_ns())),
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// Requests in its chain, itself among them.
    pub(super) fn count(&self) -> usize {
        1 + self.rest.len()
    }

    /// Whether the next one waits for this one.
    pub(super) fn is_linked(&self) -> bool {
        self.flags & (flag::LINK | flag::HARD_LINK) != 0
    }

    /// Whether `result` is a failure, for links and for completions that are left out after success.
    pub(super) fn has_failed(&self, result: i32) -> bool {
        match self.operation {
            Operation::Timeout { is_success: true, .. } if result == -Errno::ETIME.0 => false,
            Operation::Transfer(_) => usize::try_from(result) != Ok(self.expected),
            _ => result < 0,
        }
    }
}

/// How far a request has come.
pub(super) enum Step {
    /// It has ended with this result.
    Done(Job, i32),
    /// It has to wait for its file, or a time.
    Wait(Job),
    /// A device has it.
    Started,
    /// A device's file can do it, but only as a system call does.
    Blocking(Job),
}

/// A timeout's time in nanoseconds. As Linux has it, only negative numbers are wrong, and more than a second of nanoseconds is fine.
fn span(time: TimeSpec) -> Result<u64> {
    let [seconds, ns] = [time.seconds, time.nanoseconds].map(u64::try_from);
    let (Ok(seconds), Ok(ns)) = (seconds, ns) else { return Err(Errno::EINVAL) };
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(ns))
}
