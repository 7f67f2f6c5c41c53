// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring: what is submitted, what is on its way, what has ended.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{PAGE_SIZE, mm::frame, sync::SpinLock};
use exo_logic::uring::{
    Completions, Entry, Layout, Posted, Submissions, Taken, entry::flag, layout::offset, queues,
};
use linux_raw_sys::io_uring as abi;

use super::{
    disk::{Flights, Used},
    job::Job,
    memory::Area,
    resources::Resources,
    worker::Parked,
};
use crate::{
    errno::{Errno, Result},
    fallible::LEFT_FOR_FAULTS,
    fs::{
        FileTable, OpenFile,
        file::{File, MapRequest},
        poll::Events,
    },
    mm::Pages,
    sched::{
        spans,
        wait::{Ended, WaitQueue, wait_on},
    },
    task::current,
};

/// Requests on their way and completions held back, together, for each place of the completion ring: beyond that nothing more
/// is taken (EBUSY), so that no completion is ever lost.
const MOST_FOR_EACH_PLACE: usize = 4;
/// … and for a ring of any size.
const MOST: usize = 16384;

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

/// Most requests on their way and completions held back.
fn most(layout: &Layout) -> usize {
    MOST.min(MOST_FOR_EACH_PLACE * layout.completions as usize)
}

/// Most completions held back: a chain is taken as a whole, if there was room for its first request.
fn most_held(layout: &Layout) -> usize {
    most(layout) + layout.submissions as usize
}

/// How a ring was set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `IORING_SETUP_` flags.
    pub flags: u32,
    /// How long a polling worker looks for submissions before it sleeps, in nanoseconds.
    pub idle_ns: u64,
    /// The CPUs of the worker, a bit each.
    pub affinity: u64,
    /// The thread that made it: with IORING_SETUP_SINGLE_ISSUER the only one that may submit.
    pub issuer: u32,
}

/// An io_uring.
pub struct Ring {
    /// Sizes.
    pub layout: Layout,
    /// How it was set up.
    pub settings: Settings,
    /// Both rings' memory.
    pub shared: Area,
    /// The submission entries' memory.
    entries: Area,
    submissions: SpinLock<Submissions>,
    completions: SpinLock<Completions>,
    /// Woken by each completion.
    completed: WaitQueue,
    /// Woken when the worker has taken submissions.
    pub taken: WaitQueue,
    /// What is registered.
    pub resources: SpinLock<Resources>,
    /// What waits.
    pub parked: SpinLock<Parked>,
    /// What is on its way in devices.
    pub flights: SpinLock<Flights>,
    /// The disks that were given requests.
    pub used: SpinLock<Vec<Used>>,
    /// Requests that were taken and have not ended.
    in_flight: AtomicUsize,
    /// The descriptors of the process that made it, for a worker that takes submissions.
    pub files: Weak<FileTable>,
    /// Something is there for the worker to look at.
    pub news: AtomicBool,
    /// Where the worker sleeps.
    pub work: WaitQueue,
    /// Woken when the worker has nothing in hand any more.
    pub tried: WaitQueue,
    /// The ring's file is closed.
    pub closing: AtomicBool,
}

impl Ring {
    /// A new one.
    pub fn new(layout: Layout, settings: Settings) -> Result<Arc<Self>> {
        let ring = Self {
            layout,
            settings,
            shared: Area::new(layout.ring_bytes())?,
            entries: Area::new(layout.entries_bytes())?,
            submissions: SpinLock::new(Submissions::new(layout)),
            completions: SpinLock::new(Completions::new(layout, most_held(&layout))),
            completed: WaitQueue::new(),
            taken: WaitQueue::new(),
            resources: SpinLock::default(),
            parked: SpinLock::default(),
            flights: SpinLock::default(),
            used: SpinLock::default(),
            in_flight: AtomicUsize::new(0),
            files: Arc::downgrade(&current().files.arc()),
            news: AtomicBool::new(false),
            work: WaitQueue::new(),
            tried: WaitQueue::new(),
            closing: AtomicBool::new(false),
        };
        queues::describe(&layout, &ring.shared);
        Ok(Arc::new(ring))
    }

    /// Whether its worker takes submissions by itself.
    pub fn is_polled(&self) -> bool {
        self.settings.flags & abi::IORING_SETUP_SQPOLL != 0
    }

    /// EEXIST if the ring is another thread's alone.
    pub fn check_issuer(&self, flag: u32) -> Result<()> {
        let is_others = self.settings.flags & flag != 0 && self.settings.issuer != current().tid();
        if is_others { Err(Errno::EEXIST) } else { Ok(()) }
    }

    /// Submissions that wait to be taken.
    pub fn waiting(&self) -> u32 {
        self.submissions.lock().waiting(&self.shared)
    }

    /// Requests on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

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
    pub fn submit(self: &Arc<Self>, limit: u32, files: &FileTable) -> Result {
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

    /// Tells one request's end.
    fn end(&self, job: &Job, result: i32) {
        let hide = job.flags & flag::SKIP_SUCCESS != 0 && !job.has_failed(result);
        if !hide {
            let tail = {
                let mut completions = self.completions.lock();
                if completions.post(&self.shared, job.user_data, result, 0) == Posted::Held {
                    self.shared.change(offset::SQ_FLAGS, abi::IORING_SQ_CQ_OVERFLOW, true);
                }
                completions.tail()
            };
            self.completed.wake_all();
            if self.parked.lock().counts_to(tail) {
                self.wake_worker();
            }
        }
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ends a request; the next one of its chain, which is to be run now. If the chain breaks here, the rest ends, too.
    pub fn finish(&self, mut job: Job, result: i32) -> Option<Job> {
        let mut rest = core::mem::take(&mut job.rest);
        let breaks = job.has_failed(result) && job.flags & flag::HARD_LINK == 0;
        self.end(&job, result);
        let next = if breaks {
            for cancelled in rest.drain(..).rev() {
                self.end(&cancelled, -Errno::ECANCELED.0);
            }
            None
        } else {
            rest.pop().map(|next| Job { rest, ..next })
        };
        if !self.parked.lock().drained.is_empty() {
            self.wake_worker();
        }
        next
    }

    /// The completion count so far.
    pub fn tail(&self) -> u32 {
        self.completions.lock().tail()
    }

    /// Completions that the program can take.
    pub fn ready(&self) -> u32 {
        self.completions.lock().ready(&self.shared)
    }

    /// Shows completions that were held back, as far as there is room.
    pub fn flush(&self) {
        let mut completions = self.completions.lock();
        if completions.held() > 0 && completions.flush(&self.shared) {
            self.shared.change(offset::SQ_FLAGS, abi::IORING_SQ_CQ_OVERFLOW, false);
        }
    }

    /// Waits until `count` completions are there, `deadline`, or a signal.
    pub fn wait(&self, count: u32, deadline: Option<u64>) -> Result<()> {
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

    /// What is mapped at the offsets that stand for the parts of a ring.
    fn part(&self, offset: u64, length: usize) -> Result<Arc<Pages>> {
        // As on Linux, the upper bits alone name the part.
        match u32::try_from(offset & u64::from(abi::IORING_OFF_MMAP_MASK)) {
            Ok(abi::IORING_OFF_SQ_RING | abi::IORING_OFF_CQ_RING) => self.shared.pages(length),
            Ok(abi::IORING_OFF_SQES) => self.entries.pages(length),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// The ring's file. Closing it ends what is on its way.
pub struct RingFile(Arc<Ring>);

impl RingFile {
    /// A ring's file, for an open file to hold.
    pub fn boxed(ring: Arc<Ring>) -> Box<dyn File> {
        Box::new(Self(ring))
    }
}

impl Drop for RingFile {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl File for RingFile {
    fn events(&self) -> Events {
        let mut events = Events::empty();
        events.set(Events::IN, self.0.ready() > 0);
        events.set(Events::OUT, self.0.waiting() < self.0.layout.submissions);
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.completed)
    }

    fn map(&self, wish: MapRequest) -> Result<Option<Arc<Pages>>> {
        self.0.part(wish.offset, wish.length).map(Some)
    }

    /// The offset names a part of the ring; each has pages of its own.
    fn mapped_from(&self, _offset: u64) -> u64 {
        0
    }

    fn holds_files(&self) -> bool {
        true
    }

    /// The rings, and the pages of registered buffers that the program no longer has mapped.
    fn kernel_memory(&self) -> usize {
        let layout = &self.0.layout;
        let buffers = self.0.resources.lock().unmapped_bytes();
        layout.ring_bytes() + layout.entries_bytes() + buffers
    }
}

/// The ring behind an open file.
pub fn of(file: &OpenFile) -> Result<Arc<Ring>> {
    file.file().downcast::<RingFile>().map(|file| file.0.clone()).ok_or(Errno::EOPNOTSUPP)
}

/// Whether there is one.
pub fn is_ring(file: &OpenFile) -> bool {
    file.file().downcast::<RingFile>().is_some()
}
