// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads as the scheduler knows them, and what it asks of those who know more.

use core::{
    ops::Deref,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use alloc::sync::Arc;

use exo_hal::{
    thread::{self as machine, Head, TaskRef, TaskType},
    time,
};
use exo_logic::sleep::State;

use crate::{
    account::Account,
    credentials::{self, Credentials},
    sched::{self, policy::Schedule},
};

/// Bits of [`Thread::work`]: what must happen before user mode goes on. The core looks at the first three alone, which end waits.
pub mod work {
    /// A signal may be deliverable.
    pub const SIGNAL: u32 = 1;
    /// The task must end.
    pub const EXIT: u32 = 2;
    /// The process is stopped.
    pub const STOP: u32 = 4;
    /// A handler's mask is to be put back although no handler ran (sigsuspend and the like).
    pub const RESTORE_MASK: u32 = 8;
    /// A copy took memory from the reserve: somebody has to be ended to fill it up.
    pub const OUT_OF_MEMORY: u32 = 16;
    /// Pages are to be given back.
    pub const DEAD_PAGES: u32 = 32;
}

/// What the scheduler asks of a task, whose head is a [`Thread`].
pub trait Task: TaskType<Head = Thread> {
    /// Whether one of the signals that it has got is not blocked.
    fn has_deliverable_signal(&self) -> bool;
    /// Loads the page tables that it runs with.
    fn activate_memory(&self);
    /// A tick has come while it ran.
    fn tick(&self);
    /// Sends it a signal, as if it had sent that itself.
    fn signal(&self, number: u32);
    /// A resource limit of the process it runs for, by its number in [`limits::index`](crate::limits::index).
    fn soft_limit(&self, which: usize) -> u64;
    /// The same for who cannot wait; none if the limits are locked at the moment.
    fn soft_limit_now(&self, which: usize) -> Option<u64>;
}

/// [`Task`]'s functions, for those who have the head alone.
struct Calls {
    has_deliverable_signal: fn() -> bool,
    activate_memory: fn(&ThreadRef),
    tick: fn(),
    signal: fn(u32),
    soft_limit: fn(usize) -> u64,
    soft_limit_now: fn(usize) -> Option<u64>,
}

impl Calls {
    const fn of<T: Task>() -> &'static Self {
        const {
            &Self {
                has_deliverable_signal: || machine::current::<T>().has_deliverable_signal(),
                activate_memory: |task| task.whole::<T>().activate_memory(),
                tick: || machine::current::<T>().tick(),
                signal: |number| machine::current::<T>().signal(number),
                soft_limit: |which| machine::current::<T>().soft_limit(which),
                soft_limit_now: |which| machine::current::<T>().soft_limit_now(which),
            }
        }
    }
}

/// A counted reference to a task of which only the thread is known.
pub type ThreadRef = TaskRef<Thread>;

/// The running task's thread.
pub type Running = machine::Running<Thread>;

/// The running task's thread.
#[inline(always)]
pub fn running() -> Running {
    machine::running()
}

/// Whether the running task is to handle a signal, so that a wait must end.
pub fn has_signal() -> bool {
    let task = running();
    let work = task.work.load(Ordering::Acquire);
    work & (work::EXIT | work::STOP) != 0 || work & work::SIGNAL != 0 && (task.calls.has_deliverable_signal)()
}

/// Loads the page tables that a task runs with.
#[inline(always)]
pub(crate) fn activate_memory(task: &ThreadRef) {
    (task.calls.activate_memory)(task);
}

/// A tick has come while a task runs.
pub(crate) fn tick(task: &Running) {
    (task.calls.tick)();
}

/// Sends the running task a signal that its own call has caused, as Linux does: as if it had sent that itself.
pub fn signal_self(number: u32) {
    (running().calls.signal)(number);
}

/// A resource limit of the process that runs, by its number in [`limits::index`](crate::limits::index).
pub fn soft_limit(which: usize) -> u64 {
    (running().calls.soft_limit)(which)
}

/// The same for who cannot wait, as it may have the limits locked itself; none if they are locked.
pub fn soft_limit_now(which: usize) -> Option<u64> {
    (running().calls.soft_limit_now)(which)
}

/// Whether the running thread has a capability in force.
pub fn capable(capability: u32) -> bool {
    running().credentials.get().has(capability)
}

/// What the scheduler can wake: a reference to a task, whether all of it is known or only its thread.
pub trait AsThread {
    /// The task's thread.
    fn as_thread(&self) -> &Thread;
    /// One more reference.
    fn counted(&self) -> ThreadRef;
}

impl<T: Task + Deref<Target = Thread>> AsThread for Arc<T> {
    #[inline(always)]
    fn as_thread(&self) -> &Thread {
        self
    }

    #[inline(always)]
    fn counted(&self) -> ThreadRef {
        self.clone().into()
    }
}

impl AsThread for ThreadRef {
    #[inline(always)]
    fn as_thread(&self) -> &Thread {
        self
    }

    #[inline(always)]
    fn counted(&self) -> ThreadRef {
        self.clone()
    }
}

/// What a thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, when a CPU has nothing else.
    Idle,
    /// Work of the kernel's.
    Kernel,
    /// A program.
    Program,
}

/// A thread.
pub struct Thread {
    /// The hardware side.
    pub machine: machine::Thread,
    calls: &'static Calls,
    /// Whether it runs, sleeps or has ended.
    pub state: State,
    /// Whether a run queue holds it.
    pub queued: AtomicBool,
    /// The CPU it runs on or ran on last.
    pub cpu: AtomicUsize,
    /// The CPUs it may run on, one bit each.
    pub affinity: AtomicU64,
    /// CPU time so far, in nanoseconds, without the current turn.
    pub run_ns: AtomicU64,
    /// What of it was in user mode, in cycles; the short path of system calls counts as that.
    pub user_cycles: AtomicU64,
    /// Its place in the order of those that want to run.
    pub schedule: Schedule,
    /// What it runs.
    pub kind: Kind,
    /// See [`work`].
    pub work: AtomicU32,
    /// Frames for which there was no room in the running call.
    pub frames_wanted: AtomicUsize,
    /// What it has done.
    pub account: Account,
    /// Which of its next allocations that may fail does: see [`fallible::fail_nth`](crate::fallible::fail_nth).
    pub fail_nth: AtomicU32,
    /// For whom it acts.
    pub credentials: credentials::Cell,
}

#[expect(unsafe_code, reason = "the promise that the scheduler has one type of threads")]
// SAFETY: the only type that implements it, with `machine` made by `Thread::new` and never changed.
unsafe impl Head for Thread {
    #[inline(always)]
    fn thread(&self) -> &machine::Thread {
        &self.machine
    }
}

impl Thread {
    /// The thread of a task of type `T`; it does not run yet, and may run on the CPUs of `affinity`.
    pub fn new<T: Task>(
        machine: machine::Thread,
        affinity: u64,
        schedule: Schedule,
        kind: Kind,
        credentials: Arc<Credentials>,
    ) -> Self {
        Self {
            machine,
            calls: Calls::of::<T>(),
            state: State::default(),
            queued: AtomicBool::new(false),
            cpu: AtomicUsize::new(0),
            affinity: AtomicU64::new(affinity),
            run_ns: AtomicU64::new(0),
            user_cycles: AtomicU64::new(0),
            schedule,
            kind,
            work: AtomicU32::new(0),
            frames_wanted: AtomicUsize::new(0),
            account: Account::default(),
            fail_nth: AtomicU32::new(0),
            credentials: credentials::Cell::new(credentials),
        }
    }

    /// Whether it runs when a CPU has nothing else.
    #[inline(always)]
    pub fn is_idle(&self) -> bool {
        self.kind == Kind::Idle
    }

    /// Whether the thread must end whatever it waits for.
    pub fn is_killed(&self) -> bool {
        self.work.load(Ordering::Acquire) & work::EXIT != 0
    }

    /// Whether it is the one that runs here.
    #[inline(always)]
    pub fn is_running_here(&self) -> bool {
        machine::has_current() && core::ptr::eq(&*running(), self)
    }

    /// CPU time in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.run_ns.load(Ordering::Relaxed) + if self.is_running_here() { sched::running_ns() } else { 0 }
    }

    /// What of its CPU time was in user mode, in nanoseconds.
    pub fn user_ns(&self) -> u64 {
        time::ns_of_cycles(self.user_cycles.load(Ordering::Relaxed)).min(self.cpu_ns())
    }
}
