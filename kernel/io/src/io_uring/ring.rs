// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring: what is submitted, what is on its way, what has ended.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::sync::SpinLock;
use exo_logic::uring::{Completions, Layout, Posted, Submissions, entry::flag, layout::offset, queues};
use linux_raw_sys::io_uring as abi;

use super::{
    flights::{Flights, Used},
    job::Job,
    memory::Area,
    parked::Parked,
    resources::Resources,
};
use crate::{
    errno::{Errno, Result},
    fs::FileTable,
    mm::Pages,
    sched::wait::WaitQueue,
    task::current,
};

/// Requests on their way and completions held back, together, for each place of the completion ring: beyond that nothing more
/// is taken (EBUSY), so that no completion is ever lost.
const MOST_FOR_EACH_PLACE: usize = 4;
/// … and for a ring of any size.
const MOST: usize = 16384;

/// Most requests on their way and completions held back.
pub(super) fn most(layout: &Layout) -> usize {
    MOST.min(MOST_FOR_EACH_PLACE * layout.completions as usize)
}

/// Most completions held back: a chain is taken as a whole, if there was room for its first request.
fn most_held(layout: &Layout) -> usize {
    most(layout) + layout.submissions as usize
}

/// How a ring was set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// `IORING_SETUP_` flags.
    pub(super) flags: u32,
    /// How long a polling worker looks for submissions before it sleeps, in nanoseconds.
    pub(super) idle_ns: u64,
    /// The CPUs of the worker, a bit each.
    pub(super) affinity: u64,
    /// The thread that made it: with IORING_SETUP_SINGLE_ISSUER the only one that may submit.
    pub(super) issuer: u32,
}

/// An io_uring.
pub(super) struct Ring {
    /// Sizes.
    pub(super) layout: Layout,
    /// How it was set up.
    pub(super) settings: Settings,
    /// Both rings' memory.
    pub(super) shared: Area,
    /// The submission entries' memory.
    pub(super) entries: Area,
    pub(super) submissions: SpinLock<Submissions>,
    pub(super) completions: SpinLock<Completions>,
    /// Woken by each completion.
    pub(super) completed: WaitQueue,
    /// Woken when the worker has taken submissions.
    pub(super) taken: WaitQueue,
    /// What is registered.
    pub(super) resources: SpinLock<Resources>,
    /// What waits.
    pub(super) parked: SpinLock<Parked>,
    /// What is on its way in devices.
    pub(super) flights: SpinLock<Flights>,
    /// The disks that were given requests.
    pub(super) used: SpinLock<Vec<Used>>,
    /// Requests that were taken and have not ended.
    pub(super) in_flight: AtomicUsize,
    /// The descriptors of the process that made it, for a worker that takes submissions.
    pub(super) files: Weak<FileTable>,
    /// Something is there for the worker to look at.
    pub(super) news: AtomicBool,
    /// Where the worker sleeps.
    pub(super) work: WaitQueue,
    /// Woken when the worker has nothing in hand any more.
    pub(super) tried: WaitQueue,
    /// The ring's file is closed.
    pub(super) closing: AtomicBool,
}

impl Ring {
    /// A new one.
    pub(super) fn new(layout: Layout, settings: Settings) -> Result<Arc<Self>> {
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
    pub(super) fn is_polled(&self) -> bool {
        self.settings.flags & abi::IORING_SETUP_SQPOLL != 0
    }

    /// EEXIST if the ring is another thread's alone.
    pub(super) fn check_issuer(&self, flag: u32) -> Result<()> {
        let is_others = self.settings.flags & flag != 0 && self.settings.issuer != current().tid();
        if is_others { Err(Errno::EEXIST) } else { Ok(()) }
    }

    /// Has the worker look at everything.
    pub(super) fn wake_worker(&self) {
        self.news.store(true, Ordering::Release);
        self.work.wake_all();
    }

    /// Whether its file is closed.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Submissions that wait to be taken.
    pub(super) fn waiting(&self) -> u32 {
        self.submissions.lock().waiting(&self.shared)
    }

    /// Requests on their way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Tells one request's end.
    pub(super) fn end(&self, job: &Job, result: i32) {
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
    pub(super) fn finish(&self, mut job: Job, result: i32) -> Option<Job> {
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
    pub(super) fn tail(&self) -> u32 {
        self.completions.lock().tail()
    }

    /// Completions that the program can take.
    pub(super) fn ready(&self) -> u32 {
        self.completions.lock().ready(&self.shared)
    }

    /// Shows completions that were held back, as far as there is room.
    pub(super) fn flush(&self) {
        let mut completions = self.completions.lock();
        if completions.held() > 0 && completions.flush(&self.shared) {
            self.shared.change(offset::SQ_FLAGS, abi::IORING_SQ_CQ_OVERFLOW, false);
        }
    }

    /// What is mapped at the offsets that stand for the parts of a ring.
    pub(super) fn part(&self, offset: u64, length: usize) -> Result<Arc<Pages>> {
        // As on Linux, the upper bits alone name the part.
        match u32::try_from(offset & u64::from(abi::IORING_OFF_MMAP_MASK)) {
            Ok(abi::IORING_OFF_SQ_RING | abi::IORING_OFF_CQ_RING) => self.shared.pages(length),
            Ok(abi::IORING_OFF_SQES) => self.entries.pages(length),
            _ => Err(Errno::EINVAL),
        }
    }
}
