// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals: sending, pending, and what happens before a program goes on.

pub mod constants;
pub mod frame;
mod pending;
pub mod stop;

pub use constants::{action_flag, code, number};
pub use pending::{Charge, Pending, Taken};

use core::sync::atomic::Ordering;

use alloc::{collections::BTreeMap, sync::Arc};

use exo_hal::{sync::SpinLock, trap::Regs};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::Errno,
    sched,
    task::{
        Current, Process, Task, core_dump, credentials::Which, current, exit, posix_timers::PosixTimer,
        session, work,
    },
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

/// What cannot be blocked, caught or ignored.
pub const UNBLOCKABLE: SignalSet = SignalSet::of(number::SIGKILL).and(SignalSet::of(number::SIGSTOP));
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
        let task = current();
        let mut info = Self { code, ..Self::kernel(signal) };
        info.fields[0] = u64::from(task.pid) | (u64::from(task.credentials.id(Which::User)) << 32);
        info
    }

    /// A fault at `address`.
    pub fn fault(signal: u32, code: i32, address: usize) -> Self {
        let mut info = Self { code, ..Self::kernel(signal) };
        info.fields[0] = address as u64;
        info
    }

    /// The signal of a POSIX timer.
    pub fn timer(signal: u32, id: u32, overrun: u32, value: u64) -> Self {
        let mut info = Self { code: code::TIMER, ..Self::kernel(signal) };
        info.fields[0] = u64::from(id) | (u64::from(overrun) << 32);
        info.fields[1] = value;
        info
    }

    /// SIGCHLD about a child of user `uid` with `status`.
    pub fn child(pid: u32, uid: u32, code: i32, status: u32) -> Self {
        let mut info = Self { code, ..Self::kernel(number::SIGCHLD) };
        info.fields[0] = u64::from(pid) | (u64::from(uid) << 32);
        info.fields[1] = u64::from(status);
        info
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
/// Handler of a signal that is ignored.
pub const IGNORE: u64 = 1;

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

    /// Whether a signal is ignored.
    pub fn ignores(&self, signal: u32) -> bool {
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
        stop::end(process);
    } else if STOPPING.has(signal) {
        let cont = SignalSet::of(number::SIGCONT);
        process.pending.lock().remove(cont);
        for task in process.threads.lock().values() {
            task.pending.lock().remove(cont);
        }
    }
}

fn blocks(task: &Task, signal: u32) -> bool {
    SignalSet(task.blocked.load(Ordering::Acquire)).has(signal)
}

/// The first program gets only the signals that it has a handler for: the system ends with it. Its own faults still end it.
fn is_protected(process: &Process, signal: u32) -> bool {
    process.pid == 1 && process.actions().get(signal).handler == DEFAULT
}

/// Tells a thread to look for signals.
fn notify(task: &Arc<Task>) {
    task.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
    sched::prod(task);
}

/// A thread that takes a signal of its process: the first thread if it can, then one that has none to handle yet.
fn choose(threads: &BTreeMap<u32, Arc<Task>>, signal: u32) -> Option<&Arc<Task>> {
    let takes = |task: &&Arc<Task>| !blocks(task, signal) && !task.is_killed();
    let is_free = |task: &&Arc<Task>| task.work.load(Ordering::Acquire) & work::SIGNAL == 0;
    threads.values().filter(takes).find(is_free).or_else(|| threads.values().find(takes))
}

/// Sends a signal to a process; EAGAIN if it is one that queues, and the queue is full.
pub fn send_to_process(process: &Process, info: Info) -> Result<(), Errno> {
    queue_for_process(process, info.signal as u32, |pending, first| pending.add(info, Charge::of(first)))
        .map(drop)
}

/// Sends a process the signal of a timer; false if it ignores that.
pub fn send_timer_to_process(process: &Process, timer: &Arc<PosixTimer>) -> bool {
    let add = |pending: &mut Pending, _: &Task| {
        pending.add_timer(timer);
        Ok(())
    };
    queue_for_process(process, timer.notice.signal, add) != Ok(false)
}

/// Sends a signal that `add` adds to those of the process; false if the process ignores it.
fn queue_for_process(
    process: &Process,
    signal: u32,
    add: impl FnOnce(&mut Pending, &Task) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    if process.has_ended() || is_protected(process, signal) {
        return Ok(true);
    }
    before_sending(process, signal);
    if signal == number::SIGKILL {
        exit::kill(process, signal);
        return Ok(true);
    }
    let Some(first) = process.any_thread() else { return Ok(true) };
    if process.actions().ignores(signal) && !blocks(&first, signal) {
        return Ok(false);
    }
    // Pending first: a thread that blocks the signal meanwhile finds it then, and hands it on.
    add(&mut process.pending.lock(), &first)?;
    let threads = process.threads.lock();
    if let Some(task) = choose(&threads, signal) {
        notify(task);
    } else {
        // Blocked everywhere: a thread that waits for it by sigtimedwait looks again.
        for task in threads.values() {
            sched::wake(task);
        }
    }
    Ok(true)
}

/// Sends a signal to one thread; EAGAIN if it is one that queues, and the queue is full.
pub fn send_to_task(task: &Arc<Task>, info: Info) -> Result<(), Errno> {
    queue_for_task(task, info.signal as u32, |pending| pending.add(info, Charge::of(task))).map(drop)
}

/// Sends a thread the signal of a timer; false if it ignores that.
pub fn send_timer_to_task(task: &Arc<Task>, timer: &Arc<PosixTimer>) -> bool {
    let add = |pending: &mut Pending| {
        pending.add_timer(timer);
        Ok(())
    };
    queue_for_task(task, timer.notice.signal, add) != Ok(false)
}

fn queue_for_task(
    task: &Arc<Task>,
    signal: u32,
    add: impl FnOnce(&mut Pending) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    if is_protected(&task.process, signal) {
        return Ok(true);
    }
    before_sending(&task.process, signal);
    if signal == number::SIGKILL {
        exit::kill(&task.process, signal);
        return Ok(true);
    }
    if task.process.actions().ignores(signal) && !blocks(task, signal) {
        return Ok(false);
    }
    add(&mut task.pending.lock())?;
    notify(task);
    Ok(true)
}

/// Sends the running thread a signal about what it just did (SIGPIPE, SIGXFSZ).
pub fn send_to_self(signal: u32) {
    // A standard signal always finds room.
    let _ = send_to_task(&current().arc(), Info::from_user(signal, code::USER));
}

/// A fault of the running thread: cannot be blocked or ignored, a handler aside.
pub fn force(task: &Current, info: Info) {
    let signal = info.signal as u32;
    let action = task.process.actions().get(signal);
    if blocks(task, signal) || action.handler == IGNORE {
        task.process.actions().set(signal, Action::default());
        task.blocked.fetch_and(!SignalSet::of(signal).0, Ordering::AcqRel);
    }
    // A standard signal always finds room.
    let _ = task.pending.lock().add(info, Charge::of(task));
    task.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
}

/// Whether a signal of `task` waits that is not blocked.
pub fn is_deliverable(task: &Task) -> bool {
    let blocked = task.blocked.load(Ordering::Acquire);
    (task.pending.lock().set().0 | task.process.pending.lock().set().0) & !blocked != 0
}

/// Signals of the process that `task` takes no more, because it blocks them or ends, go to its other threads.
pub fn hand_on(task: &Task, lost: SignalSet) {
    let waiting = task.process.pending.lock().set().0 & lost.0;
    if waiting == 0 {
        return;
    }
    for other in task.process.threads.lock().values().filter(|t| !core::ptr::eq::<Task>(&***t, task)) {
        if waiting & !other.blocked.load(Ordering::Acquire) != 0 && !other.is_killed() {
            notify(other);
        }
    }
}

/// Replaces the running thread's mask.
pub fn set_mask(task: &Task, mask: SignalSet) {
    let new = mask.0 & !UNBLOCKABLE.0;
    let old = task.blocked.swap(new, Ordering::AcqRel);
    task.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
    if new & !old != 0 {
        hand_on(task, SignalSet(new & !old));
    }
}

/// Sets what a process does on a signal. One that it ignores from now on is pending no more.
pub fn set_action(process: &Process, signal: u32, action: Action) {
    let actions = process.actions();
    actions.set(signal, action);
    if actions.ignores(signal) {
        process.pending.lock().remove(SignalSet::of(signal));
        for task in process.threads.lock().values() {
            task.pending.lock().remove(SignalSet::of(signal));
        }
    } else {
        process.posix_timers.not_ignored(process, signal);
    }
}

/// Replaces the mask until a handler has run or the wait is over without one.
pub fn set_temporary_mask(task: &Task, mask: SignalSet) {
    task.saved_mask.store(task.blocked.load(Ordering::Acquire), Ordering::Release);
    set_mask(task, mask);
    task.work.fetch_or(work::RESTORE_MASK, Ordering::AcqRel);
}

/// Takes a signal of `among` that is pending for `task` or its process.
pub fn take_pending(task: &Task, among: SignalSet) -> Option<Info> {
    loop {
        let own = task.pending.lock().take(among);
        let taken = own.or_else(|| task.process.pending.lock().take(among))?;
        let info = match taken {
            Taken::Signal(info) => info,
            Taken::Timer(timer) => match timer.taken() {
                Some(info) => info,
                None => continue,
            },
        };
        if info.signal == number::SIGALRM as i32 {
            task.process.alarm_taken();
        }
        return Some(info);
    }
}

/// Everything that is due before the running program goes on: end, stop, signals.
#[cold]
pub fn before_user_mode(regs: &mut Regs) {
    let task = current();
    loop {
        let due = task.work.load(Ordering::Acquire);
        if due & work::EXIT != 0 {
            core_dump::note_end(&task, regs);
            exit::exit_current();
        }
        if due & work::STOP != 0 {
            stop::wait_until_continued(&task);
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

fn handle_signals(task: &Current, regs: &mut Regs) {
    loop {
        // Before the signal is taken: a SIGCONT that comes later undoes the stop.
        let continues = stop::continues(&task.process);
        let Some(info) = take_pending(task, SignalSet(!task.blocked.load(Ordering::Acquire))) else { return };
        let signal = info.signal as u32;
        let action = task.process.actions().get(signal);
        match action.handler {
            IGNORE => {}
            DEFAULT if IGNORED_BY_DEFAULT.has(signal) => {}
            DEFAULT if STOPPING.has(signal) => {
                // Nobody could continue a group that has no shell, unless somebody stops it on purpose.
                if signal == number::SIGSTOP || !session::is_orphaned(&task.process) {
                    stop::begin(&task.process, signal, continues);
                    return;
                }
            }
            DEFAULT => {
                core_dump::end_process(task, &info, regs);
                return;
            }
            _ => call_handler(task, regs, &info, action),
        }
    }
}

fn call_handler(task: &Current, regs: &mut Regs, info: &Info, action: Action) {
    let signal = info.signal as u32;
    frame::finish_restart(regs, Some(action.flags));
    if action.flags & action_flag::RESETHAND != 0 {
        task.process.actions().set(signal, Action { handler: DEFAULT, ..action });
    }
    if frame::push(task, regs, &action, info).is_err() {
        // No room for the frame. A handler of SIGSEGV may have a stack of its own.
        if signal == number::SIGSEGV {
            task.process.actions().set(signal, Action::default());
        }
        force(task, Info::kernel(number::SIGSEGV));
        return;
    }
    let mut mask = SignalSet(task.blocked.load(Ordering::Acquire) | action.mask);
    if action.flags & action_flag::NODEFER == 0 {
        mask = mask.and(SignalSet::of(signal));
    }
    set_mask(task, mask);
}
