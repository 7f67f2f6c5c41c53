// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending signals: to a process, to one thread, by a timer; and which thread takes what is sent.

use core::sync::atomic::Ordering;

use alloc::{collections::BTreeMap, sync::Arc};

use exo_core::{credentials::Which, limits};

use super::{
    Action, Charge, IGNORE, Info, Pending, SignalSet, Taken, UNBLOCKABLE, action::DEFAULT, action_flag, code,
    number, set::STOPPING, stop,
};
use crate::{
    errno::Errno,
    sched,
    task::{
        Current, Process, Task, current, kill,
        posix_timers::{PosixTimer, Receiver},
        work,
    },
};

/// A signal that the running program sends: `code` says with which call.
pub fn from_running(signal: u32, code: i32) -> Info {
    let task = current();
    Info::sent_by(task.pid, task.credentials.id(Which::User), signal, code)
}

/// Who is charged for a signal to `task`, and how many more there may be.
fn charge(task: &Task) -> Charge {
    let limit = task.process.limits.lock()[limits::index::SIGPENDING].soft;
    Charge::new(task.credentials.get().user.clone(), limit)
}

/// SIGCHLD about a child that has stopped or goes on, and a wake-up for a parent that waits.
pub(super) fn tell_parent(process: &Process, change: stop::Change) {
    let Some(parent) = process.parent.lock().upgrade() else { return };
    let action = parent.actions().get(number::SIGCHLD);
    if action.flags & action_flag::NOCLDSTOP == 0 && action.handler != IGNORE {
        parent.signal(Info::child(process.pid, process.user_id(), change.code, change.signal));
    }
    parent.child_changed.wake_all();
}

/// The thread has stopped with its process, or ends instead. The parent is told of what is a stop with that.
pub fn has_stopped(task: &Task) {
    if let Some(change) = stop::arrive(task) {
        tell_parent(&task.process, change);
    }
}

/// What stop and continue signals do the moment they are sent, whatever becomes of them later.
fn before_sending(process: &Process, signal: u32) {
    if signal == number::SIGCONT {
        if let Some(change) = stop::end(process) {
            tell_parent(process, change);
        }
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
    queue_for_process(process, info.signal as u32, |pending, first| pending.add(info, charge(first)))
        .map(drop)
}

impl Process {
    /// Sends a signal to the process as a whole. Only one that queues can be lost: its queue may be full.
    pub fn signal(&self, info: Info) {
        let _ = send_to_process(self, info);
    }
}

/// A timer's signal goes to the process as a whole.
impl Receiver for Process {
    fn send(&self, timer: &Arc<PosixTimer>) -> bool {
        let add = |pending: &mut Pending, _: &Task| {
            pending.add_timer(timer);
            Ok(())
        };
        queue_for_process(self, timer.notice.signal, add) != Ok(false)
    }

    fn ignores(&self, signal: u32) -> bool {
        self.actions().ignores(signal)
    }

    fn reserve(&self, count: usize) -> Result<(), Errno> {
        self.pending.lock().reserve_timers(count)
    }

    fn number(&self) -> u32 {
        self.pid
    }
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
        kill::kill(process, signal);
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
    drop(threads);
    process.signalled.wake_all();
    Ok(true)
}

/// Sends a signal to one thread; EAGAIN if it is one that queues, and the queue is full.
pub fn send_to_task(task: &Arc<Task>, info: Info) -> Result<(), Errno> {
    queue_for_task(task, info.signal as u32, |pending| pending.add(info, charge(task))).map(drop)
}

/// A timer's signal goes to this thread alone.
impl Receiver for Task {
    fn send(&self, timer: &Arc<PosixTimer>) -> bool {
        let add = |pending: &mut Pending| {
            pending.add_timer(timer);
            Ok(())
        };
        queue_for_task(&self.arc(), timer.notice.signal, add) != Ok(false)
    }

    fn ignores(&self, signal: u32) -> bool {
        self.process.actions().ignores(signal)
    }

    fn reserve(&self, count: usize) -> Result<(), Errno> {
        self.pending.lock().reserve_timers(count)
    }

    fn number(&self) -> u32 {
        self.tid()
    }
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
        kill::kill(&task.process, signal);
        return Ok(true);
    }
    if task.process.actions().ignores(signal) && !blocks(task, signal) {
        return Ok(false);
    }
    add(&mut task.pending.lock())?;
    notify(task);
    task.process.signalled.wake_all();
    Ok(true)
}

/// Sends the running thread a signal about what it just did (SIGPIPE, SIGXFSZ).
pub fn send_to_self(signal: u32) {
    // A standard signal always finds room.
    let _ = send_to_task(&current().arc(), from_running(signal, code::USER));
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
    let _ = task.pending.lock().add(info, charge(task));
    task.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
}

/// Signals that wait for `task` or its process, blocked or not.
#[inline]
pub fn pending(task: &Task) -> SignalSet {
    task.pending.lock().set().and(task.process.pending.lock().set())
}

/// Whether a signal of `task` waits that is not blocked.
#[inline]
pub fn is_deliverable(task: &Task) -> bool {
    let blocked = task.blocked.load(Ordering::Acquire);
    pending(task).0 & !blocked != 0
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
        process.posix_timers.not_ignored(signal);
    }
}

/// Replaces the mask until a handler has run or the wait is over without one.
pub fn set_temporary_mask(task: &Task, mask: SignalSet) {
    task.saved_mask.store(task.blocked.load(Ordering::Acquire), Ordering::Release);
    set_mask(task, mask);
    task.work.fetch_or(work::RESTORE_MASK, Ordering::AcqRel);
}

/// Puts the mask back that [`set_temporary_mask`] has replaced, before a handler could run.
pub fn end_temporary_mask(task: &Task) {
    if task.work.fetch_and(!work::RESTORE_MASK, Ordering::AcqRel) & work::RESTORE_MASK != 0 {
        set_mask(task, SignalSet(task.saved_mask.load(Ordering::Acquire)));
    }
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
