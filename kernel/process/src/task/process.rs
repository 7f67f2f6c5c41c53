// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process: what its threads share.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{sync::SpinLock, time};

use exo_core::{credentials::Which, thread::Thread};

use super::{
    Name, Task,
    account::{Account, Counts},
    controlling_tty::ControllingTty,
    core_dump::state::{CoreDump, DEFAULT_FILTER},
    cpu_timers::CpuTimers,
    limits::{self, Limits},
    posix_timers::{CpuClock, PosixTimer, PosixTimers},
};
use crate::{
    errno::Result,
    fs::{FileTable, FsContext, writing::Executing},
    mm::AddressSpace,
    sched::{spans, timer, wait::WaitQueue},
    signal::{Actions, Pending, Stop},
};

/// What [`Process::group_exit`] holds while nobody has ended the process as a whole.
pub const NOT_ENDING: u64 = u64::MAX;

/// What has become of a process, for its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Runs.
    Running,
    /// Stopped by this signal; `told` once a parent has waited for it.
    Stopped {
        /// The signal.
        signal: u32,
        /// The parent knows.
        told: bool,
    },
    /// Goes on after a stop, and no parent has waited for it yet.
    Continued,
    /// Ended with this status (as wait4 has it); waits to be reaped.
    Ended(u32),
}

/// An interval timer that sends SIGALRM.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alarm {
    /// When it runs out, in nanoseconds since boot; 0 if it is off.
    pub deadline: u64,
    /// After how many nanoseconds it runs out again; 0 for once.
    pub interval: u64,
    pub(super) key: Option<timer::Key>,
}

/// Resources that the process's ended children (and theirs) used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// What of it was in user mode.
    pub user_ns: u64,
    /// The largest number of resident pages.
    pub peak_pages: usize,
    /// What they did.
    pub counts: Counts,
}

/// Addresses of what a program was started with: the environment follows the arguments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strings {
    /// The first argument.
    pub arguments: usize,
    /// The first string of the environment.
    pub environment: usize,
    /// The end of both.
    pub end: usize,
}

/// A process.
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in nanoseconds since boot.
    pub started: u64,
    /// Its parent; of a kernel thread, the process that it works for.
    pub parent: SpinLock<Weak<Process>>,
    /// All its threads have been told that it ends, or are by whom that is up to.
    pub all_told: AtomicBool,
    /// Its children by number, also those that ended and wait to be reaped.
    pub children: SpinLock<BTreeMap<u32, Arc<Process>>>,
    /// Its threads by number.
    pub threads: SpinLock<BTreeMap<u32, Arc<Task>>>,
    /// Its memory.
    pub memory: SpinLock<Arc<AddressSpace>>,
    /// Working directory and file-creation mask.
    pub fs: Arc<FsContext>,
    /// What it does on signals.
    pub actions: SpinLock<Arc<Actions>>,
    /// Signals for any of its threads.
    pub pending: SpinLock<Pending>,
    /// Those that want to hear of signals without handling them: signalfd.
    pub signalled: WaitQueue,
    /// Those that wait for the end of the process, of one of its threads, or of what is left of it: pidfd.
    pub ended: WaitQueue,
    /// Process group.
    pub group: AtomicU32,
    /// Session.
    pub session: AtomicU32,
    /// The session's terminal.
    pub terminal: SpinLock<Option<Arc<dyn ControllingTty>>>,
    /// The group that was in the foreground of its session's terminal when that was gone; 0 for none.
    pub hung_up_group: AtomicU32,
    /// What has become of it.
    pub status: SpinLock<Status>,
    /// How far it is with stopping.
    pub stop: SpinLock<Stop>,
    /// The status that all its threads end with, if they were told to; see [`super::exit`].
    pub group_exit: AtomicU64,
    /// The thread that starts another program and ends the others for it, or 0.
    pub exec_thread: AtomicU32,
    /// Whether it has started a program since it was made.
    pub has_execed: AtomicBool,
    /// Whether orphans below it become its children (PR_SET_CHILD_SUBREAPER).
    pub is_subreaper: AtomicBool,
    /// The parent's thread that made it.
    pub parent_thread: AtomicU32,
    /// The real user that it ended as.
    pub last_user: AtomicU32,
    /// PR_SET_DUMPABLE.
    pub dumpable: AtomicU32,
    /// Parents that wait for this process's children to change.
    pub child_changed: WaitQueue,
    /// Threads that wait for the end of a stop.
    pub continued: WaitQueue,
    /// Resource limits.
    pub limits: SpinLock<Limits>,
    /// The interval timer.
    pub alarm: SpinLock<Alarm>,
    /// CPU time of its threads that have ended.
    pub ended_ns: AtomicU64,
    /// What of it was in user mode.
    pub ended_user_ns: AtomicU64,
    /// What its threads that have ended did.
    pub ended_account: Account,
    /// Timers of CPU time.
    pub cpu_timers: SpinLock<CpuTimers>,
    /// The timers of timer_create.
    pub posix_timers: PosixTimers,
    /// What its children used.
    pub children_usage: SpinLock<Usage>,
    /// The program's file, until the process ends.
    pub executable: SpinLock<Option<Arc<Executing>>>,
    /// Signal for the parent at the end.
    pub exit_signal: AtomicU32,
    /// The name of its first thread, when that has ended.
    pub first_name: SpinLock<Option<Name>>,
    /// Where its arguments and environment are, for /proc/PID/cmdline and environ.
    pub strings: SpinLock<Strings>,
    /// The auxiliary vector that its program was started with, as bytes.
    pub auxiliary: SpinLock<Arc<Vec<u8>>>,
    /// Which memory goes into its core file (/proc/PID/coredump_filter).
    pub dump_filter: AtomicU32,
    /// Its core file, while one is written.
    pub core_dump: SpinLock<CoreDump>,
    /// What /proc/PID/oom_score_adj was set to: thousandths of the machine's memory that count in addition when somebody has to be
    /// ended for memory; -1000 for never.
    pub oom_adjust: AtomicI32,
}

fn each_of<T>(list: &SpinLock<BTreeMap<u32, Arc<T>>>, mut each: impl FnMut(&Arc<T>)) {
    let mut next = 0;
    loop {
        let found = list.lock().range(next..).next().map(|(&number, of)| (number, of.clone()));
        let Some((number, of)) = found else { return };
        each(&of);
        next = number + 1;
        // To the end, also when the task is to end.
        let _ = spans::point();
    }
}

/// Whose CPU time timers go by.
impl CpuClock for Process {
    fn cpu_ns(&self) -> u64 {
        self.cpu_ns()
    }

    fn watch(&self, timer: &Arc<PosixTimer>) -> Result<()> {
        self.posix_timers.watch(timer)
    }
}

impl CpuClock for Task {
    fn cpu_ns(&self) -> u64 {
        Thread::cpu_ns(self)
    }

    fn watch(&self, timer: &Arc<PosixTimer>) -> Result<()> {
        self.process.posix_timers.watch(timer)
    }
}

impl Process {
    /// A process without threads, memory and files.
    pub fn empty(pid: u32) -> Arc<Self> {
        Arc::new(Self {
            pid,
            started: time::now_ns(),
            parent: SpinLock::default(),
            children: SpinLock::default(),
            threads: SpinLock::default(),
            memory: SpinLock::new(AddressSpace::none()),
            fs: Arc::new(FsContext::new()),
            actions: SpinLock::new(Arc::new(Actions::default())),
            pending: SpinLock::new(Pending::default()),
            signalled: WaitQueue::new(),
            ended: WaitQueue::new(),
            group: AtomicU32::new(pid),
            session: AtomicU32::new(pid),
            terminal: SpinLock::default(),
            hung_up_group: AtomicU32::new(0),
            status: SpinLock::new(Status::Running),
            stop: SpinLock::new(Stop::default()),
            group_exit: AtomicU64::new(NOT_ENDING),
            all_told: AtomicBool::new(false),
            exec_thread: AtomicU32::new(0),
            has_execed: AtomicBool::new(false),
            is_subreaper: AtomicBool::new(false),
            parent_thread: AtomicU32::new(0),
            last_user: AtomicU32::new(0),
            dumpable: AtomicU32::new(1),
            auxiliary: SpinLock::default(),
            dump_filter: AtomicU32::new(DEFAULT_FILTER),
            core_dump: SpinLock::default(),
            child_changed: WaitQueue::new(),
            continued: WaitQueue::new(),
            limits: SpinLock::new(limits::initial()),
            alarm: SpinLock::new(Alarm::default()),
            ended_ns: AtomicU64::new(0),
            ended_user_ns: AtomicU64::new(0),
            cpu_timers: SpinLock::default(),
            posix_timers: Default::default(),
            ended_account: Default::default(),
            children_usage: SpinLock::new(Usage::default()),
            executable: SpinLock::new(None),
            exit_signal: AtomicU32::new(0),
            first_name: SpinLock::new(None),
            strings: SpinLock::default(),
            oom_adjust: AtomicI32::new(0),
        })
    }

    /// What it does on signals.
    pub fn actions(&self) -> Arc<Actions> {
        self.actions.lock().clone()
    }

    /// A thread, the first if it still runs.
    pub fn any_thread(&self) -> Option<Arc<Task>> {
        self.threads.lock().values().next().cloned()
    }

    /// Calls `each` with every thread, with nothing locked. Interrupts and other tasks are let in on the way: a thread that is made meanwhile
    /// may be left out.
    pub fn each_thread(&self, each: impl FnMut(&Arc<Task>)) {
        each_of(&self.threads, each);
    }

    /// The same for the children.
    pub fn each_child(&self, each: impl FnMut(&Arc<Process>)) {
        each_of(&self.children, each);
    }

    /// The descriptors of [`any_thread`](Self::any_thread).
    pub fn files(&self) -> Option<Arc<FileTable>> {
        self.any_thread().map(|thread| thread.files.arc())
    }

    /// Its name: that of its first thread, which may have ended before the others.
    pub fn name(&self) -> Name {
        let first = self.threads.lock().get(&self.pid).cloned();
        let kept = *self.first_name.lock();
        match (first, kept) {
            (Some(first), _) => *first.name.lock(),
            (None, Some(name)) => name,
            (None, None) => self.any_thread().map(|t| *t.name.lock()).unwrap_or_default(),
        }
    }

    /// CPU time of all its threads, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        let threads = self.threads.lock();
        self.ended_ns.load(Ordering::Relaxed) + threads.values().map(|t| t.cpu_ns()).sum::<u64>()
    }

    /// What of it was in user mode.
    pub fn user_ns(&self) -> u64 {
        let threads = self.threads.lock();
        self.ended_user_ns.load(Ordering::Relaxed) + threads.values().map(|t| t.user_ns()).sum::<u64>()
    }

    /// What all its threads have done.
    pub fn counts(&self) -> Counts {
        let mut counts = self.ended_account.get();
        self.threads.lock().values().for_each(|thread| counts.add(&thread.account.get()));
        counts
    }

    /// Its real user, as its first thread has it.
    pub fn user_id(&self) -> u32 {
        match self.any_thread() {
            Some(thread) => thread.credentials.id(Which::User),
            None => self.last_user.load(Ordering::Relaxed),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        matches!(*self.status.lock(), Status::Ended(_))
    }
}
