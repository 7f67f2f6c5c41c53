// SPDX-License-Identifier: GPL-2.0

//! Events of processes: from the scheduler's tracepoints, through a filter, into rings, to readers.
//!
//! ```text
//!  tracepoint --> Events --> filter --> ring of this CPU --> read(2): merged by time
//!                   |                        +------------> mmap(2): as they are
//!                   +--> counters of this CPU
//! ```
//!
//! What is done here is done while the process waits, so it is short: a few words are written to
//! memory of this CPU. Nothing is recorded while nobody has `/dev/procmon_events` open, only
//! counted.

pub(crate) mod files;
mod filter;
mod reader;
mod rings;
mod wait_queue;

use crate::{
    abi::event::{
        Event,
        COMM,
        EXEC,
        EXIT,
        FORK, //
    },
    mechanisms::{
        process::COMM_LENGTH,
        PerCpu,
        Process,
        ProcessEvents, //
    },
};
use filter::Filter;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc, //
    },
    task::Pid, //
};
use rings::Rings;
use wait_queue::ReaderWaitQueue;

/// How many processes have come and gone.
#[derive(Clone, Copy, Default)]
pub(crate) struct Activity {
    pub(crate) forks: u64,
    pub(crate) execs: u64,
    pub(crate) exits: u64,
}

struct Counters {
    forks: Atomic<u64>,
    execs: Atomic<u64>,
    exits: Atomic<u64>,
}

/// What is called when something happens to a process.
#[pin_data]
pub(crate) struct Events {
    counters: PerCpu<Counters>,
    #[pin]
    filter: Filter,
    rings: Rings,
    #[pin]
    wait_queue: ReaderWaitQueue,
    /// How many files of `/dev/procmon_events` are open.
    readers: Atomic<u32>,
}

impl Events {
    /// Makes filter and rings.
    ///
    /// # Safety
    ///
    /// The last reference must be dropped before the module is unloaded.
    pub(crate) unsafe fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                counters: PerCpu::new(|_| Counters {
                    forks: Atomic::new(0),
                    execs: Atomic::new(0),
                    exits: Atomic::new(0),
                })?,
                // SAFETY: By the requirements of this function.
                filter <- unsafe { Filter::new() },
                rings: Rings::new()?,
                wait_queue <- ReaderWaitQueue::new(),
                readers: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns how many processes have come and gone since the module was loaded.
    pub(crate) fn activity(&self) -> Activity {
        let mut activity = Activity::default();
        for counters in self.counters.iter() {
            activity.forks = activity.forks.wrapping_add(counters.forks.load(Relaxed));
            activity.execs = activity.execs.wrapping_add(counters.execs.load(Relaxed));
            activity.exits = activity.exits.wrapping_add(counters.exits.load(Relaxed));
        }
        activity
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(crate) fn rings(&self) -> &Rings {
        &self.rings
    }

    /// Returns how many files of `/dev/procmon_events` are open.
    pub(crate) fn readers(&self) -> u32 {
        self.readers.load(Relaxed)
    }

    fn record(
        &self,
        kind: u32,
        process: Process<'_>,
        pid: Pid,
        comm: [u8; COMM_LENGTH],
        detail: u64,
    ) {
        if self.readers() == 0 {
            return;
        }
        let event = Event {
            pid,
            tgid: process.tgid(),
            ppid: process.parent_tgid(),
            uid: process.user().into_raw().val,
            comm,
            kind,
            detail,
            // What is left is the ring's to fill in.
            ..Event::default()
        };
        self.rings.record(event, process.owner());
        self.wait_queue.wake();
    }
}

impl ProcessEvents for Events {
    fn fork(&self, parent: Process<'_>, child: Process<'_>) {
        let tgid = child.tgid();
        if child.pid() != tgid {
            return; // A thread.
        }
        self.counters.this_cpu().forks.add(1u64, Relaxed);
        if self.filter.on_fork(parent.tgid(), tgid) {
            self.record(FORK, child, tgid, child.name(), number(parent.pid()));
        }
    }

    fn exec(&self, process: Process<'_>, caller: Pid) {
        let tgid = process.tgid();
        self.counters.this_cpu().execs.add(1u64, Relaxed);
        if self.filter.follows(tgid) {
            self.record(EXEC, process, tgid, process.name(), number(caller));
        }
    }

    fn exit(&self, thread: Process<'_>, last: bool) {
        if !last {
            return;
        }
        let tgid = thread.tgid();
        self.counters.this_cpu().exits.add(1u64, Relaxed);
        if self.filter.on_exit(tgid) {
            let status = thread.exit_status().into();
            self.record(EXIT, thread, tgid, thread.leader().name(), status);
        }
    }

    fn rename(&self, thread: Process<'_>, name: &CStr) {
        // With another program comes another name: EXEC will tell.
        if !thread.is_in_execve() && self.filter.follows(thread.tgid()) {
            let mut comm = [0; COMM_LENGTH];
            let (_, without_end) = comm.split_last_mut().unwrap_or((&mut 0, &mut []));
            without_end
                .iter_mut()
                .zip(name.to_bytes())
                .for_each(|(to, from)| *to = *from);
            self.record(COMM, thread, thread.pid(), comm, 0);
        }
    }
}

/// Returns a process's number as a detail.
fn number(pid: Pid) -> u64 {
    // They are positive.
    u64::try_from(pid).unwrap_or(0)
}

/// What is behind `/dev/procmon_events`.
pub(crate) struct Node(Arc<Events>);

impl Node {
    pub(crate) fn new(events: Arc<Events>) -> Self {
        Self(events)
    }
}

/// Makes sure that the filter's memory is not looked at outside of a read section.
fn with_rcu<R>(f: impl FnOnce(&rcu::Guard) -> R) -> R {
    f(&rcu::read_lock())
}
