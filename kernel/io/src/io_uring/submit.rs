// SPDX-License-Identifier: MIT OR Apache-2.0
//! What io_uring_enter asks for: that submissions are taken and begun, and waiting for completions.

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame};
use exo_logic::uring::{Entry, Taken, entry::flag};
use linux_raw_sys::io_uring as abi;

use super::{
    file::is_ring,
    job::Job,
    ring::{Ring, most},
};
use crate::{
    errno::{Errno, Result},
    fallible::LEFT_FOR_FAULTS,
    fs::FileTable,
    sched::{
        spans,
        wait::{Ended, wait_on},
    },
};

/// Makes room for one request more in a chain, whose length the program chooses.
fn grow(chain: &mut Vec<Job>) -> Result<()> {
    if !frame::available(frames_for(chain.len())) {
        return Err(Errno::ENOMEM);
    }
    chain.try_reserve(1).map_err(|_| Errno::ENOMEM)
}

/// Page frames that must be free for one request more than `count`, whose own memory is part of those that are left for faults. A list grows by doubling, and the old one goes when the new one is
/// there.
fn frames_for(count: usize) -> usize {
    LEFT_FOR_FAULTS + count * 3 * size_of::<Job>() / PAGE_SIZE
}

impl Ring {
    fn has_room(&self) -> bool {
        let count = self.in_flight() + self.completions.lock().held();
        count < most(&self.layout) && frame::available(frames_for(count))
    }

    /// Takes the next submission; none if there is none that names an entry.
    fn take(&self, files: &FileTable) -> Option<(Job, Result<()>)> {
        let taken = self.submissions.lock().take(&self.shared, &self.entries);
        let Taken::Entry(words) = taken else { return None };
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let entry = Entry::new(words);
        let file = if entry.flags & flag::FIXED_FILE != 0 {
            self.resources.lock().file(entry.fd)
        } else {
            // A request that waits, perhaps for ever, must not keep its own ring open, nor one that keeps another.
            files.get(entry.fd).ok().filter(|file| !file.is_path_only() && !is_ring(file))
        };
        Some(Job::new(&entry, file))
    }

    /// Takes up to `limit` submissions and begins them; how many. What the program adds meanwhile is left: it could go on for ever.
    pub(super) fn submit(self: &Arc<Self>, limit: u32, files: &FileTable) -> Result {
        let result = self.take_and_begin(limit.min(self.waiting()), files);
        self.ring_doorbells();
        result
    }

    fn take_and_begin(self: &Arc<Self>, limit: u32, files: &FileTable) -> Result {
        let mut count = 0;
        while count < limit {
            if !self.has_room() {
                // The program may have taken completions without a call.
                self.flush();
                if !self.has_room() {
                    return if count == 0 { Err(Errno::EBUSY) } else { Ok(count as usize) };
                }
            }
            let Some((job, prepared)) = self.take(files) else { break };
            count += 1;
            let mut refused = prepared.is_err();
            if job.is_linked() {
                refused = self.submit_chain(job, prepared, limit, &mut count, files);
            } else {
                match prepared {
                    Ok(()) => self.begin(job),
                    Err(error) => self.run_from(job, Some(-error.0)),
                }
            }
            if refused && self.settings.flags & abi::IORING_SETUP_SUBMIT_ALL == 0 || spans::point() {
                break;
            }
        }
        Ok(count as usize)
    }

    /// Takes the rest of a chain and begins it; true if one of its requests cannot be begun, and so none is.
    fn submit_chain(
        self: &Arc<Self>,
        first: Job,
        prepared: Result<()>,
        limit: u32,
        count: &mut u32,
        files: &FileTable,
    ) -> bool {
        let (mut chain, mut refused) = (Vec::new(), false);
        let mut next = Some((first, prepared));
        while let Some((job, prepared)) = next {
            let is_last = *count >= limit || !job.is_linked();
            match prepared.and_then(|()| grow(&mut chain)) {
                Ok(()) if !refused => chain.push(job),
                Ok(()) => self.end(&job, -Errno::ECANCELED.0),
                Err(error) => {
                    refused = true;
                    chain.drain(..).for_each(|job| self.end(&job, -Errno::ECANCELED.0));
                    self.end(&job, -error.0);
                }
            }
            next = if is_last { None } else { self.take(files) };
            *count += u32::from(next.is_some());
        }
        // The first one runs and has the others, the next one last.
        chain.reverse();
        if let Some(mut head) = chain.pop() {
            head.rest = chain;
            self.begin(head);
        }
        refused
    }

    /// Begins a request, unless it or one before it waits for all before them.
    fn begin(self: &Arc<Self>, job: Job) {
        {
            let mut parked = self.parked.lock();
            let must_wait = job.flags & flag::DRAIN != 0 && self.in_flight() > job.count();
            if must_wait || !parked.drained.is_empty() {
                parked.drained.push_back(job);
                drop(parked);
                if self.start_worker().is_ok() {
                    // What it waits for may have ended in between.
                    self.wake_worker();
                } else {
                    self.refuse_drained();
                }
                return;
            }
        }
        self.run_from(job, None);
    }

    /// Waits until `count` completions are there, `deadline`, or a signal.
    pub(super) fn wait(&self, count: u32, deadline: Option<u64>) -> Result<()> {
        let count = count.min(self.layout.completions);
        self.poll_until(|| self.ready() >= count);
        let enough = || {
            self.flush();
            self.poll_disks();
            (self.ready() >= count).then_some(())
        };
        wait_on(&[&self.completed], deadline, true, enough).map_err(|ended| match ended {
            Ended::TimedOut => Errno::ETIME,
            Ended::Interrupted => Errno::EINTR,
        })
    }
}
