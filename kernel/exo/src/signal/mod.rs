// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals: sending, pending, and what happens before a program goes on.

pub mod constants;
pub mod frame;

pub use constants::{action_flag, code, number};

use core::sync::atomic::Ordering;

use alloc::{collections::VecDeque, sync::Arc};

use exo_hal::{sync::SpinLock, trap::Regs};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::Errno,
    sched::{self, wait},
    task::{Current, Process, Status, Task, current, exit, work},
};

/// A set of signals; signal n is bit n - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// The set of one signal; empty for a number that is none.
    pub const fn of(signal: u32) -> Self {
        if signal == 0 || signal > number::LAST { Self(0) } else { Self(1 << (signal - 1)) }
    }

    /// Whether a signal is in the set.
    pub const fn has(self, signal: u32) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const UNBLOCKABLE: SignalSet = SignalSet::of(number::SIGKILL).and(SignalSet::of(number::SIGSTOP));
const STOPPING: SignalSet = SignalSet::of(number::SIGSTOP)
    .and(SignalSet::of(number::SIGTSTP))
    .and(SignalSet::of(number::SIGTTIN))
    .and(SignalSet::of(number::SIGTTOU));
const IGNORED_BY_DEFAULT: SignalSet = SignalSet::of(number::SIGCHLD)
    .and(SignalSet::of(number::SIGCONT))
    .and(SignalSet::of(number::SIGURG))
    .and(SignalSet::of(number::SIGWINCH));
/// Faults come first: they belong to the instruction at hand.
const SYNCHRONOUS: SignalSet = SignalSet::of(number::SIGSEGV)
    .and(SignalSet::of(number::SIGBUS))
    .and(SignalSet::of(number::SIGILL))
    .and(SignalSet::of(number::SIGTRAP))
    .and(SignalSet::of(number::SIGFPE))
    .and(SignalSet::of(number::SIGSYS));
/// Queued signals of one number for a process beyond which more are refused (RLIMIT_SIGPENDING is per user on Linux).
const QUEUE_LIMIT: usize = 1024;

/// `siginfo_t`, of which the kernel sets the parts that all signals here need.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Info {
    /// si_signo.
    pub signal: i32,
    /// si_errno.
    pub errno: i32,
    /// si_code.
    pub code: i32,
    pad: i32,
    /// si_pid and si_uid, or si_addr.
    pub fields: [u64; 14],
}

impl Info {
    /// A signal that the kernel sends.
    pub fn kernel(signal: u32) -> Self {
        Self { signal: signal as i32, errno: 0, code: code::KERNEL, pad: 0, fields: [0; 14] }
    }

    /// A signal that a program sends: `code` says with which call.
    pub fn from_user(signal: u32, code: i32) -> Self {
        let mut info = Self { code, ..Self::kernel(signal) };
        info.fields[0] = u64::from(current().pid);
        info
    }

    /// A fault at `address`.
    pub fn fault(signal: u32, code: i32, address: usize) -> Self {
        let mut info = Self { code, ..Self::kernel(signal) };
        info.fields[0] = address as u64;
        info
    }

    /// SIGCHLD about child `pid` with `status`.
    pub fn child(pid: u32, code: i32, status: u32) -> Self {
        let mut info = Self { code, ..Self::kernel(number::SIGCHLD) };
        info.fields[0] = u64::from(pid);
        info.fields[1] = u64::from(status);
        info
    }
}

/// Signals that have been sent and not been handled.
#[derive(Debug, Default)]
pub struct Pending {
    set: SignalSet,
    queue: VecDeque<Info>,
}

impl Pending {
    /// The signals.
    pub fn set(&self) -> SignalSet {
        self.set
    }

    fn add(&mut self, info: Info) -> Result<(), Errno> {
        let signal = info.signal as u32;
        // Standard signals are pending once; real-time signals queue up.
        if signal < 32 && self.set.has(signal) {
            return Ok(());
        }
        if self.queue.len() >= QUEUE_LIMIT {
            return Err(Errno::EAGAIN);
        }
        self.set = self.set.and(SignalSet::of(signal));
        self.queue.push_back(info);
        Ok(())
    }

    fn remove(&mut self, signals: SignalSet) {
        self.queue.retain(|info| !signals.has(info.signal as u32));
        self.set.0 &= !signals.0;
    }

    /// Takes the signal of `among` that comes first.
    pub fn take(&mut self, among: SignalSet) -> Option<Info> {
        let ready = self.set.0 & among.0;
        if ready == 0 {
            return None;
        }
        let first = if ready & SYNCHRONOUS.0 != 0 { ready & SYNCHRONOUS.0 } else { ready };
        let signal = first.trailing_zeros() + 1;
        let at = self.queue.iter().position(|info| info.signal as u32 == signal)?;
        let info = self.queue.remove(at)?;
        if !self.queue.iter().any(|info| info.signal as u32 == signal) {
            self.set.0 &= !SignalSet::of(signal).0;
        }
        Some(info)
    }
}

/// `struct sigaction` of the kernel interface.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Action {
    /// Address of the handler, or 0 (default) or 1 (ignore).
    pub handler: u64,
    /// See [`action_flag`].
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Signals blocked while it runs.
    pub mask: u64,
}

const DEFAULT: u64 = 0;
const IGNORE: u64 = 1;

/// What a process does on each signal.
pub struct Actions(pub SpinLock<[Action; number::LAST as usize]>);

impl Actions {
    /// All default.
    pub fn new() -> Self {
        Self(SpinLock::new([Action::default(); number::LAST as usize]))
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> Self {
        Self(SpinLock::new(*self.0.lock()))
    }

    /// The action on a signal.
    pub fn get(&self, signal: u32) -> Action {
        self.0.lock().get((signal as usize).wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// Sets the action on a signal.
    pub fn set(&self, signal: u32, action: Action) {
        if let Some(slot) = self.0.lock().get_mut((signal as usize).wrapping_sub(1)) {
            *slot = action;
        }
    }

    /// For exec: handlers are gone, what is ignored stays ignored.
    pub fn reset_handlers(&self) {
        for action in self.0.lock().iter_mut() {
            *action = Action {
                handler: if action.handler == IGNORE { IGNORE } else { DEFAULT },
                ..Action::default()
            };
        }
    }

    fn ignores(&self, signal: u32) -> bool {
        match self.get(signal).handler {
            IGNORE => true,
            DEFAULT => IGNORED_BY_DEFAULT.has(signal),
            _ => false,
        }
    }
}

/// Whether `signal` is a signal's number.
pub fn is_valid(signal: u32) -> bool {
    (1..=number::LAST).contains(&signal)
}

/// What stop and continue signals do the moment they are sent, whatever becomes of them later.
fn before_sending(process: &Process, signal: u32) {
    if signal == number::SIGCONT {
        let was_stopped = {
            let mut status = process.status.lock();
            let stopped = matches!(*status, Status::Stopped { .. });
            if stopped {
                *status = Status::Continued;
            }
            stopped
        };
        process.pending.lock().remove(STOPPING);
        for task in process.threads.lock().iter() {
            task.pending.lock().remove(STOPPING);
            task.work.fetch_and(!work::STOP, Ordering::AcqRel);
        }
        process.continued.wake_all();
        if was_stopped {
            exit::tell_parent(process, code::CLD_CONTINUED, number::SIGCONT);
        }
    } else if STOPPING.has(signal) {
        process.pending.lock().remove(SignalSet::of(number::SIGCONT));
    }
}

fn kill_all(process: &Process, status: u32) {
    for task in process.threads.lock().iter() {
        exit::tell_to_exit(task, status);
    }
    process.continued.wake_all();
}

/// The first program gets only the signals that it has a handler for: the system ends with it. Its own faults still end it.
fn is_protected(process: &Process, signal: u32) -> bool {
    process.pid == 1 && process.actions.get(signal).handler == DEFAULT
}

/// Sends a signal to a process.
pub fn send_to_process(process: &Process, info: Info) {
    let signal = info.signal as u32;
    if process.has_ended() {
        return;
    }
    if is_protected(process, signal) {
        return;
    }
    before_sending(process, signal);
    if signal == number::SIGKILL {
        return kill_all(process, signal);
    }
    let threads = process.threads.lock();
    let takes = |t: &&Arc<Task>| !SignalSet(t.blocked.load(Ordering::Acquire)).has(signal);
    let target = threads.iter().find(takes);
    if process.actions.ignores(signal) && target.is_some() {
        return;
    }
    // Nobody is told of a signal that does not fit: standard ones always do.
    if process.pending.lock().add(info).is_err() {
        return;
    }
    if let Some(task) = target {
        task.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
        sched::prod(task);
    } else {
        // Blocked everywhere: a thread that waits for it by sigtimedwait looks again.
        for task in threads.iter() {
            sched::wake(task);
        }
    }
}

/// Sends a signal to one thread.
pub fn send_to_task(task: &Arc<Task>, info: Info) -> Result<(), Errno> {
    let signal = info.signal as u32;
    if is_protected(&task.process, signal) {
        return Ok(());
    }
    before_sending(&task.process, signal);
    if signal == number::SIGKILL {
        kill_all(&task.process, signal);
        return Ok(());
    }
    let blocked = SignalSet(task.blocked.load(Ordering::Acquire)).has(signal);
    if task.process.actions.ignores(signal) && !blocked {
        return Ok(());
    }
    task.pending.lock().add(info)?;
    task.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
    sched::prod(task);
    Ok(())
}

/// A fault of the running thread: cannot be blocked or ignored, a handler aside.
pub fn force(task: &Current, info: Info) {
    let signal = info.signal as u32;
    let blocked = SignalSet(task.blocked.load(Ordering::Acquire)).has(signal);
    let action = task.process.actions.get(signal);
    if blocked || action.handler == IGNORE {
        task.process.actions.set(signal, Action::default());
        task.blocked.fetch_and(!SignalSet::of(signal).0, Ordering::AcqRel);
    }
    // One synchronous signal of each kind at a time: nothing else can be pending in its place.
    let _ = task.pending.lock().add(info);
    task.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
}

/// Whether a signal of `task` waits that is not blocked.
pub fn is_deliverable(task: &Task) -> bool {
    let blocked = task.blocked.load(Ordering::Acquire);
    (task.pending.lock().set.0 | task.process.pending.lock().set.0) & !blocked != 0
}

/// Replaces the running thread's mask.
pub fn set_mask(task: &Task, mask: SignalSet) {
    task.blocked.store(mask.0 & !UNBLOCKABLE.0, Ordering::Release);
    task.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
}

/// Replaces the mask until a handler has run or the wait is over without one.
pub fn set_temporary_mask(task: &Task, mask: SignalSet) {
    task.saved_mask.store(task.blocked.load(Ordering::Acquire), Ordering::Release);
    set_mask(task, mask);
    task.work.fetch_or(work::RESTORE_MASK, Ordering::AcqRel);
}

/// Takes a signal of `among` that is pending for `task` or its process.
pub fn take_pending(task: &Task, among: SignalSet) -> Option<Info> {
    let own = task.pending.lock().take(among);
    own.or_else(|| task.process.pending.lock().take(among))
}

/// Everything that is due before the running program goes on: end, stop, signals.
#[cold]
pub fn before_user_mode(regs: &mut Regs) {
    let task = current();
    loop {
        let due = task.work.load(Ordering::Acquire);
        if due & work::EXIT != 0 {
            exit::exit_current();
        }
        if due & work::STOP != 0 {
            wait_while_stopped(&task);
            continue;
        }
        if due & work::SIGNAL != 0 {
            task.work.fetch_and(!work::SIGNAL, Ordering::AcqRel);
            handle_signals(&task, regs);
            continue;
        }
        if due & work::RESTORE_MASK != 0 {
            // No handler took the saved mask along.
            task.work.fetch_and(!work::RESTORE_MASK, Ordering::AcqRel);
            set_mask(&task, SignalSet(task.saved_mask.load(Ordering::Acquire)));
            continue;
        }
        break;
    }
    frame::finish_restart(regs, None);
}

fn wait_while_stopped(task: &Current) {
    let _ = wait::wait_on(&[&task.process.continued], None, false, || {
        (task.work.load(Ordering::Acquire) & work::STOP == 0).then_some(())
    });
}

fn handle_signals(task: &Current, regs: &mut Regs) {
    while let Some(info) = take_pending(task, SignalSet(!task.blocked.load(Ordering::Acquire))) {
        let signal = info.signal as u32;
        let action = task.process.actions.get(signal);
        match action.handler {
            IGNORE => {}
            DEFAULT if IGNORED_BY_DEFAULT.has(signal) => {}
            DEFAULT if STOPPING.has(signal) => {
                stop(task, signal);
                return;
            }
            DEFAULT => {
                exit::exit_process(task, signal);
                return;
            }
            _ => {
                frame::finish_restart(regs, Some(action.flags));
                if action.flags & action_flag::RESETHAND != 0 {
                    task.process.actions.set(signal, Action::default());
                }
                if frame::push(task, regs, &action, &info).is_err() {
                    // No room for the frame: the program cannot go on.
                    task.process.actions.set(number::SIGSEGV, Action::default());
                    exit::exit_process(task, number::SIGSEGV);
                    return;
                }
                let mut mask = SignalSet(task.blocked.load(Ordering::Acquire) | action.mask);
                if action.flags & action_flag::NODEFER == 0 {
                    mask = mask.and(SignalSet::of(signal));
                }
                set_mask(task, mask);
            }
        }
    }
}

fn stop(task: &Current, signal: u32) {
    let process = &task.process;
    *process.status.lock() = Status::Stopped { signal, told: false };
    for other in process.threads.lock().iter() {
        other.work.fetch_or(work::STOP, Ordering::AcqRel);
        sched::prod(other);
    }
    exit::tell_parent(process, code::CLD_STOPPED, signal);
}
