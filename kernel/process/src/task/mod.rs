// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tasks (threads) and processes (thread groups).

pub mod alarm;
pub mod clone;
pub mod controlling_tty;
pub mod core_dump;
mod cpu_time;
pub mod cpu_timers;
pub mod credentials;
pub mod exec;
pub mod exit;
pub mod file_context;
pub mod kernel_thread;
pub mod kill;
pub mod message;
pub mod observer;
pub mod oom;
pub mod posix_timers;
pub mod process;
mod scheduled;
pub mod session;
pub mod table;
pub mod wait;

use core::{
    ops::Deref,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use alloc::sync::{Arc, Weak};

use exo_core::thread::{Kind, Thread};
use exo_hal::{mm::heap, sync::SpinLock, thread, trap::Regs};

use crate::{
    errno::Result,
    fs::Files,
    mm::AddressSpace,
    sched::policy::{Policy, Schedule},
    signal::{Owed, Pending, SignalSet},
};

pub use credentials::Credentials;
pub use exo_core::{
    account, limits,
    thread::{has_signal, work},
};
pub use process::{Process, Status};

/// The alternate signal stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct AltStack {
    /// Lowest address.
    pub base: u64,
    /// Bytes; 0 for none.
    pub size: u64,
    /// SS_AUTODISARM, if set.
    pub flags: u32,
}

/// A thread.
#[repr(C)]
pub struct Task {
    /// What the scheduler knows of it; the first, as `TaskType` demands.
    thread: Thread,
    /// Its number; see [`Task::tid`].
    number: AtomicU32,
    /// Its process's number.
    pub pid: u32,
    /// Its process.
    pub process: Arc<Process>,
    /// Its descriptors.
    pub files: Files,
    me: Weak<Task>,
    /// Until when the call waits that a signal has interrupted and that goes on unless a handler runs; 0 for none.
    restart_deadline: AtomicU64,
    /// Blocked signals.
    pub blocked: AtomicU64,
    /// The mask that a wait replaced; valid with [`work::RESTORE_MASK`].
    pub saved_mask: AtomicU64,
    /// Signals for this thread alone.
    pub pending: SpinLock<Pending>,
    /// The alternate signal stack.
    pub alt_stack: SpinLock<AltStack>,
    /// Where to write 0 and wake a futex when the thread ends.
    pub clear_tid: AtomicUsize,
    /// The list of robust futexes.
    pub robust_list: AtomicUsize,
    /// The lock with an owner that it waits for has become its (see [`crate::futex::pi`]).
    pub lock_granted: AtomicBool,
    /// It has ended as far as such locks are concerned.
    pub owns_nothing: AtomicBool,
    /// The name, as in /proc/PID/comm.
    pub name: SpinLock<Name>,
    /// What its parent waits for after vfork.
    pub vfork: SpinLock<Option<Arc<clone::Completion>>>,
    /// The signal that it gets when the thread that made its process ends, or 0 (PR_SET_PDEATHSIG).
    pub death_signal: AtomicU32,
    /// No program that it starts gives it more privileges (PR_SET_NO_NEW_PRIVS).
    pub no_new_privileges: AtomicBool,
    /// How programs are run (personality).
    pub personality: AtomicU32,
    /// Its part in a stop of the process.
    pub stop_owed: Owed,
    /// Set when the thread was told to end, to the process's status if it ends the process.
    pub exit_status: AtomicU32,
    /// The endpoint (its address) whose answer the task waits for, or 0.
    pub awaiting: AtomicUsize,
    /// What a kernel thread does, until it has begun.
    pub main: SpinLock<Option<kernel_thread::Main>>,
    /// A message of an IPC endpoint that is on its way to the task.
    pub ipc: SpinLock<Option<message::Message>>,
}

/// A short name; zero bytes at the end do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name(pub [u8; 16]);

impl Name {
    /// The first 15 bytes of `name`.
    pub fn new(name: &[u8]) -> Self {
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(name.iter().take(15)) {
            *to = *from;
        }
        Self(out)
    }

    /// Without the zeros.
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|b| *b == 0).next().unwrap_or_default()
    }
}

/// What differs between new threads.
pub struct Seed<'a> {
    /// The number.
    pub tid: u32,
    /// The process that it belongs to.
    pub process: Arc<Process>,
    /// The registers that it starts with.
    pub regs: &'a Regs,
    /// Its descriptors.
    pub files: Files,
    /// Its name.
    pub name: Name,
    /// Its signal mask.
    pub blocked: SignalSet,
    /// CPUs it may run on.
    pub affinity: u64,
    /// For whom it acts.
    pub credentials: Arc<Credentials>,
    /// Its place in the order of those that want to run.
    pub schedule: Schedule,
}

impl Task {
    /// Makes a thread; it is not in any list and does not run yet.
    pub fn new(seed: Seed<'_>) -> Result<Arc<Self>> {
        let thread = thread::Thread::new::<Self>(seed.regs)?;
        heap::room_for_arc::<Self>()?;
        let kind = if seed.process.pid == 0 { Kind::Kernel } else { Kind::Program };
        Ok(Self::build(seed, thread, kind))
    }

    /// The idle task of this CPU, which runs already.
    pub fn new_idle(process: Arc<Process>) -> Arc<Self> {
        let seed = Seed {
            tid: 0,
            process,
            files: Files::empty(),
            regs: &Regs::in_kernel(),
            name: Name::new(b"idle"),
            blocked: SignalSet(u64::MAX),
            affinity: u64::MAX,
            credentials: Arc::new(Credentials::root()),
            schedule: Schedule::new(Policy::DEFAULT, 0),
        };
        Self::build(seed, thread::Thread::idle::<Self>(), Kind::Idle)
    }

    fn build(seed: Seed<'_>, machine: thread::Thread, kind: Kind) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            number: AtomicU32::new(seed.tid),
            pid: seed.process.pid,
            process: seed.process,
            files: seed.files,
            thread: Thread::new::<Self>(machine, seed.affinity, seed.schedule, kind, seed.credentials),
            me: me.clone(),
            restart_deadline: AtomicU64::new(0),
            blocked: AtomicU64::new(seed.blocked.0),
            saved_mask: AtomicU64::new(0),
            pending: SpinLock::new(Pending::default()),
            alt_stack: SpinLock::new(AltStack::default()),
            clear_tid: AtomicUsize::new(0),
            robust_list: AtomicUsize::new(0),
            lock_granted: AtomicBool::new(false),
            owns_nothing: AtomicBool::new(false),
            name: SpinLock::new(seed.name),
            vfork: SpinLock::new(None),
            death_signal: AtomicU32::new(0),
            no_new_privileges: AtomicBool::new(false),
            personality: AtomicU32::new(0),
            stop_owed: Owed::default(),
            exit_status: AtomicU32::new(0),
            awaiting: AtomicUsize::new(0),
            main: SpinLock::new(None),
            ipc: SpinLock::new(None),
        })
    }

    /// Its number.
    #[inline(always)]
    pub fn tid(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    /// Gives it another number: who starts a program is the first thread afterwards.
    pub fn set_tid(&self, tid: u32) {
        self.number.store(tid, Ordering::Relaxed);
    }

    /// A counted reference.
    #[inline]
    pub fn arc(&self) -> Arc<Task> {
        self.me.upgrade().unwrap_or_else(|| unreachable!("a task that runs is referenced by the scheduler"))
    }

    /// The memory of its process.
    pub fn memory(&self) -> Arc<AddressSpace> {
        self.process.memory.lock().clone()
    }

    /// A wait until `deadline` has been interrupted; if it goes on, then with the time that is left.
    pub fn interrupt_wait(&self, deadline: u64) {
        self.restart_deadline.store(deadline.max(1), Ordering::Relaxed);
    }

    /// Until when the call waits that was interrupted and goes on now; none for a call that is made for the first time.
    pub fn interrupted_wait(&self) -> Option<u64> {
        let deadline = self.restart_deadline.swap(0, Ordering::Relaxed);
        (deadline != 0).then_some(deadline)
    }
}

impl Deref for Task {
    type Target = Thread;

    #[inline(always)]
    fn deref(&self) -> &Thread {
        &self.thread
    }
}

/// The running task.
pub type Current = thread::Current<Task>;

/// The running task.
#[inline(always)]
pub fn current() -> Current {
    thread::current()
}
