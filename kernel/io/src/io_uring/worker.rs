// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel thread that tries again what waits.

use core::{ops::Range, sync::atomic::Ordering};

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_hal::time;
use exo_logic::uring::{Operation, entry::flag, layout::offset};
use linux_raw_sys::io_uring as abi;

use super::{
    job::{Job, Step},
    parked::{has_counted, is_due, may_go_on},
    ring::Ring,
};
use crate::{
    errno::{Errno, Result},
    mm::AddressSpace,
    sched::wait::{WaitQueue, wait_on},
    task::{current, kernel_thread},
};

/// What the worker does with a request.
enum Due {
    /// It is tried again.
    Try(Job),
    /// It is a timeout that has ended with this result.
    End(Job, i32),
}

impl Ring {
    /// Leaves a request to the worker.
    pub(super) fn park(self: &Arc<Self>, mut job: Job) {
        if job.memory.is_none() {
            job.memory = Some(current().memory());
        }
        if let Err(error) = self.start_worker() {
            // Nobody could ever end it. What is linked behind it ends with it.
            self.finish(job, -error.0);
            return;
        }
        self.parked.lock().jobs.push(Some(job));
        self.wake_worker();
    }

    /// Leaves a request that can be begun to the worker, which is there already.
    pub(super) fn leave_to_worker(&self, job: Job) {
        self.parked.lock().jobs.push(Some(Job { is_untried: true, ..job }));
        self.wake_worker();
    }

    /// There is no worker that could ever begin them.
    pub(super) fn refuse_drained(&self) {
        let drained = core::mem::take(&mut self.parked.lock().drained);
        for job in drained {
            self.finish(Job { flags: job.flags & !flag::HARD_LINK, ..job }, -Errno::ENOMEM.0);
        }
    }

    /// Starts the worker if there is none yet.
    pub(super) fn start_worker(self: &Arc<Self>) -> Result<()> {
        if core::mem::replace(&mut self.parked.lock().has_worker, true) {
            return Ok(());
        }
        let ring = self.clone();
        let task = current();
        let main = Box::new(move || if ring.is_polled() { poll_submissions(&ring) } else { work(&ring) });
        let name: &[u8] = if self.is_polled() { b"iou-sqp" } else { b"iou-wrk" };
        let started = kernel_thread::start(name, Some(&task.process), self.settings.affinity, main);
        if started.is_err() {
            self.parked.lock().has_worker = false;
        }
        started.map(drop)
    }

    /// The ring's file is closed: what waits is forgotten, the worker ends.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let forgotten = {
            let mut parked = self.parked.lock();
            (core::mem::take(&mut parked.jobs), core::mem::take(&mut parked.drained))
        };
        drop(forgotten);
        let released = core::mem::take(&mut *self.resources.lock());
        drop(released);
        self.wake_worker();
        self.taken.wake_all();
    }

    /// Ends waiting requests that match: one, or all; how many. ENOENT for none.
    pub(super) fn cancel(&self, all: bool, matches: impl Fn(&Job) -> bool) -> Result {
        let find = || {
            let mut parked = self.parked.lock();
            if parked.is_trying {
                // What the worker has in hand ends or waits again in a moment, and is not to be missed.
                return None;
            }
            let found = parked.jobs.iter_mut().filter(|index| index.as_ref().is_some_and(&matches));
            Some(found.take(if all { usize::MAX } else { 1 }).filter_map(Option::take).collect())
        };
        let found: Vec<Job> = wait_on(&[&self.tried], None, false, find).map_err(|_| Errno::EINTR)?;
        let count = found.len();
        if count > 0 {
            // It sleeps on their files, too, and holds them open.
            self.wake_worker();
        }
        for job in found {
            // Whatever the links say: a chain does not go on behind what was cancelled.
            self.finish(Job { flags: job.flags & !flag::HARD_LINK, ..job }, -Errno::ECANCELED.0);
        }
        match (count, all) {
            (0, false) if self.flights.lock().any(&matches) => Err(Errno::EALREADY),
            (0, false) => Err(Errno::ENOENT),
            (_, false) => Ok(0),
            (count, true) => Ok(count),
        }
    }

    /// Tries again all that may go on, and starts what has waited for others to end.
    fn retry(self: &Arc<Self>) {
        // Those that come meanwhile have their own news.
        let count = self.parked.lock().jobs.len();
        let mut at = 0;
        while let Some((index, turn)) = self.next_due(at..count) {
            at = index + 1;
            match turn {
                Due::End(job, result) => self.run_from(job, Some(result)),
                Due::Try(job) => {
                    if let Some(memory) = &job.memory {
                        adopt(memory);
                    }
                    let step = self.attempt(job, false);
                    let step = self.put_back(index, step);
                    step.into_iter().for_each(|step| self.go_on(step));
                }
            }
        }
        self.parked.lock().jobs.retain(Option::is_some);
        while let Some(job) = self.next_drained() {
            self.run_from(job, None);
        }
        self.ring_doorbells();
        if self.is_closing() {
            // What was parked meanwhile.
            self.close();
        }
    }

    /// Takes the next of the requests at these places that something is to be done about. One that is to be tried is in hand until
    /// [`put_back`](Self::put_back).
    fn next_due(&self, indices: Range<usize>) -> Option<(usize, Due)> {
        let (now, tail) = (time::now_ns(), self.tail());
        let mut parked = self.parked.lock();
        let is_next = |index: &usize| {
            parked.jobs.get(*index).and_then(Option::as_ref).is_some_and(|job| is_due(job, tail, now))
        };
        let index = indices.into_iter().find(is_next)?;
        let job = parked.jobs.get_mut(index)?.take()?;
        if let Operation::Timeout { .. } = job.operation {
            let result = if has_counted(&job, tail) { 0 } else { -Errno::ETIME.0 };
            return Some((index, Due::End(job, result)));
        }
        // Only these may have to wait again. A cancellation is done by the worker itself, which must not wait for itself.
        parked.is_trying = matches!(job.operation, Operation::Transfer(_) | Operation::Poll { .. });
        Some((index, Due::Try(job)))
    }

    /// A request was tried: if it has to wait, it does so where it was; else the step is to be gone on from.
    fn put_back(&self, index: usize, step: Step) -> Option<Step> {
        let mut parked = self.parked.lock();
        parked.is_trying = false;
        let left = match step {
            Step::Wait(job) => {
                let job = Some(Job { is_untried: false, ..job });
                match parked.jobs.get_mut(index) {
                    Some(empty @ None) => *empty = job,
                    // The ring is closing.
                    _ => parked.jobs.push(job),
                }
                None
            }
            step => Some(step),
        };
        drop(parked);
        self.tried.wake_all();
        left
    }

    fn next_drained(&self) -> Option<Job> {
        let mut parked = self.parked.lock();
        let waiting: usize = parked.drained.iter().map(Job::count).sum();
        let first = parked.drained.front()?;
        if first.flags & flag::DRAIN != 0 && self.in_flight() > waiting {
            return None;
        }
        parked.drained.pop_front()
    }

    /// Sleeps until something can be done, or `more` says so.
    fn sleep(&self, more: impl Fn() -> bool) {
        let files: Vec<_> = self.parked.lock().waiting().filter_map(|job| job.file.clone()).collect();
        let deadline = self.parked.lock().waiting().map(|job| job.deadline).min();
        let mut queues: Vec<&WaitQueue> = files.iter().filter_map(|file| file.file().queue()).collect();
        queues.push(&self.work);
        let has_work = || {
            let news = self.news.swap(false, Ordering::AcqRel) || self.is_closing() || more();
            (news || self.parked.lock().waiting().any(may_go_on)).then_some(())
        };
        // That the time is up is seen by who looks next.
        let _ = wait_on(&queues, deadline.filter(|at| *at != u64::MAX), false, has_work);
    }
}

/// Loads the memory that a request's addresses belong to.
fn adopt(memory: &Arc<AddressSpace>) {
    let task = current();
    let old = {
        let mut own = task.process.memory.lock();
        if Arc::ptr_eq(&own, memory) {
            return;
        }
        core::mem::replace(&mut *own, memory.clone())
    };
    memory.activate();
    drop(old);
}

/// The worker's life.
fn work(ring: &Arc<Ring>) {
    while !ring.is_closing() {
        ring.sleep(|| false);
        ring.retry();
        kernel_thread::pause();
    }
}

/// The life of a worker that takes submissions from the ring by itself.
fn poll_submissions(ring: &Arc<Ring>) {
    let memory = current().memory();
    let mut busy_until = time::now_ns().saturating_add(ring.settings.idle_ns);
    while !ring.is_closing() {
        if ring.waiting() > 0 {
            adopt(&memory);
            let Some(files) = ring.files.upgrade() else { return };
            // Too much on its way: tried again after the next completion.
            if ring.submit(u32::MAX, &files).is_ok() {
                busy_until = time::now_ns().saturating_add(ring.settings.idle_ns);
            }
            drop(files);
            ring.taken.wake_all();
        }
        if ring.poll_disks() > 0 {
            busy_until = time::now_ns().saturating_add(ring.settings.idle_ns);
        }
        if ring.news.swap(false, Ordering::AcqRel)
            || ring.parked.lock().waiting().any(|job| may_go_on(job) || job.deadline <= time::now_ns())
        {
            ring.retry();
        }
        if time::now_ns() < busy_until {
            kernel_thread::pause();
            continue;
        }
        // The program is told before the last look: either it sees that, or this sees what it has submitted.
        ring.shared.change(offset::SQ_FLAGS, abi::IORING_SQ_NEED_WAKEUP, true);
        if ring.waiting() == 0 {
            ring.sleep(|| false);
        }
        ring.shared.change(offset::SQ_FLAGS, abi::IORING_SQ_NEED_WAKEUP, false);
        ring.retry();
        if ring.waiting() > 0 {
            busy_until = time::now_ns().saturating_add(ring.settings.idle_ns);
        }
        kernel_thread::pause();
    }
}
