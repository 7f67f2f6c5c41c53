// SPDX-License-Identifier: MIT OR Apache-2.0
//! POSIX timers (timer_create): any number for each process, by any clock. A timer that repeats begins anew when its signal is taken, and
//! counts what it missed until then, as on Linux: whatever its interval, it costs no more than the program's own handling of it.

use core::{
    fmt::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{sync::SpinLock, time};

use exo_core::credentials::User;

use crate::{
    errno::{Errno, Result},
    fallible,
    sched::{
        spans,
        timer::{self, Action, TimerTarget},
    },
    signal::Info,
};

/// Most timers of a user, whatever RLIMIT_SIGPENDING says: each may be due in the same moment.
const MOST_TIMERS: u64 = 8192;
/// Most timers that go by the CPU time of one process: a tick looks at all of them.
const MOST_BY_CPU_TIME: usize = 1000;
/// How many of these a tick lets run out; others wait for the next.
const DUE_IN_A_TICK: usize = 16;

/// Whose CPU time a timer goes by: a process, or a thread.
pub trait CpuClock: Send + Sync {
    /// The CPU time that it has had, in nanoseconds.
    fn cpu_ns(&self) -> u64;
    /// Has the timer looked at at each tick in which the process runs ([`PosixTimers::check_cpu_time`]).
    fn watch(&self, timer: &Arc<PosixTimer>) -> Result<()>;
}

/// Who gets a timer's signal: a process, or a thread.
pub trait Receiver: Send + Sync {
    /// Sends it; false if it is ignored.
    fn send(&self, timer: &Arc<PosixTimer>) -> bool;
    /// Whether a signal is ignored.
    fn ignores(&self, signal: u32) -> bool;
    /// Makes room for the signals of `count` timers; EAGAIN if there is no memory.
    fn reserve(&self, count: usize) -> Result<()>;
    /// Its number.
    fn number(&self) -> u32;
}

/// What a timer goes by.
#[derive(Clone)]
pub enum Clock {
    /// The time since boot.
    Boot,
    /// The time since 1970, which may be set.
    Wall,
    /// A process's CPU time.
    Process(Weak<dyn CpuClock>),
    /// A thread's CPU time.
    Thread(Weak<dyn CpuClock>),
}

/// What happens when a timer runs out (`struct sigevent`).
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD and SIGEV_THREAD_ID.
    pub kind: u32,
    /// The signal.
    pub signal: u32,
    /// si_value; without one, the timer's number.
    pub value: Option<u64>,
}

/// Values of [`Notice::kind`] (`SIGEV_`).
pub mod kind {
    /// A signal to the process.
    pub const SIGNAL: u32 = 0;
    /// Nothing: the program looks by itself.
    pub const NONE: u32 = 1;
    /// The C library starts a thread: for the kernel a signal.
    pub const THREAD: u32 = 2;
    /// A bit: the signal goes to one thread.
    pub const THREAD_ID: u32 = 4;
}

#[derive(Debug, Default)]
struct State {
    /// When it runs out, by its clock; 0 if it is off.
    deadline: u64,
    /// After how many nanoseconds it runs out again; 0 for once.
    interval: u64,
    /// The deadline is one of the clock that may be set, and moves with it.
    follows_wall: bool,
    /// Its place among the CPU's timers, while it has one.
    key: Option<timer::Key>,
    /// It is watched by CPU time, and has not run out.
    is_watched: bool,
    /// Counts how often it was set: a signal of an earlier setting is not delivered.
    setting: u64,
    /// The setting that the signal is of.
    signal_of: u64,
    /// The signal waits to be taken.
    is_queued: bool,
    /// It ran out while the process ignored its signal.
    is_ignored: bool,
    /// How often it ran out between that for which the last signal was sent and the moment when that was taken.
    overrun: u32,
}

/// A timer.
pub struct PosixTimer {
    /// Its number in its process.
    pub id: u32,
    /// The number of its clock.
    pub clock_id: i32,
    clock: Clock,
    /// What happens when it runs out.
    pub notice: Notice,
    receiver: Weak<dyn Receiver>,
    /// Who is charged for it, as for a queued signal.
    user: Arc<User>,
    state: SpinLock<State>,
}

/// Timers by number.
#[derive(Default)]
struct Table {
    timers: BTreeMap<u32, Arc<PosixTimer>>,
    /// The number to try for the next one.
    next: u32,
}

impl Table {
    /// A number that no timer has; the next one gets another.
    fn new_number(&mut self) -> u32 {
        let mut id = self.next;
        while self.timers.contains_key(&id) {
            id = after(id);
        }
        self.next = after(id);
        id
    }
}

/// The number after `id`; 0 comes after the largest that a program can be told.
fn after(id: u32) -> u32 {
    (id + 1) & i32::MAX as u32
}

/// A process's timers.
#[derive(Default)]
pub struct PosixTimers {
    table: SpinLock<Table>,
    /// Timers of anybody that go by the process's CPU time or by that of its threads.
    watchers: SpinLock<Vec<Weak<PosixTimer>>>,
    is_watched: AtomicBool,
}

impl Drop for PosixTimer {
    fn drop(&mut self) {
        self.user.signals.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TimerTarget for PosixTimer {
    fn expired(self: Arc<Self>) {
        self.run_out();
    }
}

impl PosixTimer {
    /// The CPU time that it goes by, 0 if it goes by another clock. To be asked for before the state is locked: a process's
    /// time is the sum of its threads', and who goes through the list of threads may come to lock a timer's state.
    fn cpu_time(&self) -> u64 {
        match &self.clock {
            Clock::Boot | Clock::Wall => 0,
            // Of who has ended the time stands still: no timer of it runs out.
            Clock::Process(who) | Clock::Thread(who) => who.upgrade().map_or(0, |who| who.cpu_ns()),
        }
    }

    fn now(&self, state: &State, cpu_time: u64) -> u64 {
        match &self.clock {
            Clock::Wall if state.follows_wall => time::wall_ns(),
            Clock::Boot | Clock::Wall => time::now_ns(),
            Clock::Process(_) | Clock::Thread(_) => cpu_time,
        }
    }

    /// Starts it towards its deadline.
    fn arm(self: &Arc<Self>, state: &mut State) {
        match self.clock {
            Clock::Process(_) | Clock::Thread(_) => state.is_watched = true,
            // Nobody is told: whoever asks computes.
            _ if self.notice.kind == kind::NONE => {}
            _ => {
                let mut at = state.deadline;
                if state.follows_wall {
                    at = time::now_ns().saturating_add(at.saturating_sub(time::wall_ns()));
                }
                let target: Weak<dyn TimerTarget> = Arc::<Self>::downgrade(self);
                state.key = Some(timer::add(at, Action::Tell(target)));
            }
        }
    }

    fn disarm(state: &mut State) {
        state.is_watched = false;
        if let Some(key) = state.key.take() {
            timer::cancel(key);
        }
    }

    /// The remaining time and the interval.
    fn left(&self, state: &State, cpu_time: u64) -> (u64, u64) {
        if state.deadline == 0 {
            return (0, 0);
        }
        let now = self.now(state, cpu_time);
        let left = match now.checked_sub(state.deadline) {
            None => state.deadline - now,
            Some(late) if state.interval > 0 => state.interval - late % state.interval,
            Some(_) if self.notice.kind == kind::NONE => 0,
            // It is about to run out: 0 would say that it is off.
            Some(_) => 1,
        };
        (left, state.interval)
    }

    /// The remaining time and the interval; 0 and 0 if it is off.
    pub fn setting(&self) -> (u64, u64) {
        let cpu_time = self.cpu_time();
        self.left(&self.state.lock(), cpu_time)
    }

    /// Sets it to run out after `value` nanoseconds (0: never), or at that time of its clock; the old remaining time and interval.
    pub fn set(self: &Arc<Self>, value: u64, interval: u64, is_absolute: bool) -> (u64, u64) {
        let cpu_time = self.cpu_time();
        let mut state = self.state.lock();
        let old = self.left(&state, cpu_time);
        Self::disarm(&mut state);
        state.setting += 1;
        (state.is_ignored, state.overrun) = (false, 0);
        (state.deadline, state.interval, state.follows_wall) = (0, 0, false);
        if value > 0 {
            state.interval = interval;
            state.follows_wall = is_absolute && matches!(self.clock, Clock::Wall);
            let from = if is_absolute { 0 } else { self.now(&state, cpu_time) };
            state.deadline = from.saturating_add(value);
            self.arm(&mut state);
        }
        old
    }

    /// The wall clock was set.
    fn clock_was_set(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.follows_wall && state.key.is_some() {
            Self::disarm(&mut state);
            self.arm(&mut state);
        }
    }

    /// How often it ran out too often for the last signal that was taken.
    pub fn overrun(&self) -> u32 {
        self.state.lock().overrun
    }

    fn run_out(self: &Arc<Self>) {
        let cpu_time = self.cpu_time();
        {
            let mut state = self.state.lock();
            let is_due = state.key.is_some() || state.is_watched;
            if !is_due || self.now(&state, cpu_time) < state.deadline {
                // It was set to something else meanwhile.
                return;
            }
            (state.key, state.is_watched) = (None, false);
            state.signal_of = state.setting;
            if state.interval == 0 {
                state.deadline = 0;
            }
        }
        self.send();
    }

    fn send(self: &Arc<Self>) {
        if self.notice.kind == kind::NONE {
            return;
        }
        let Some(receiver) = self.receiver.upgrade() else { return };
        while !receiver.send(self) {
            self.state.lock().is_ignored = true;
            // It may be ignored no more since; somebody else may have seen that.
            if receiver.ignores(self.notice.signal) || !self.take_ignored() {
                return;
            }
        }
    }

    /// Whether it ran out while its signal was ignored; whoever is told so sends that.
    fn take_ignored(&self) -> bool {
        core::mem::take(&mut self.state.lock().is_ignored)
    }

    /// What /proc/PID/timers says of it.
    pub fn describe(&self, out: &mut dyn Write) -> core::fmt::Result {
        let kind = match self.notice.kind & !kind::THREAD_ID {
            kind::SIGNAL => "signal",
            kind::NONE => "none",
            _ => "thread",
        };
        let whom = if self.notice.kind & kind::THREAD_ID != 0 { "tid" } else { "pid" };
        let number = self.receiver.upgrade().map_or(0, |receiver| receiver.number());
        let value = self.notice.value.unwrap_or(u64::from(self.id));
        writeln!(out, "ID: {}\nsignal: {}/{value:016x}", self.id, self.notice.signal)?;
        writeln!(out, "notify: {kind}/{whom}.{number}\nClockID: {}", self.clock_id)
    }

    /// Its signal comes into a queue; false if it is in one already.
    pub fn enters_queue(&self) -> bool {
        !core::mem::replace(&mut self.state.lock().is_queued, true)
    }

    /// Its signal was taken out of the queue because it is ignored from now on.
    pub fn leaves_queue(&self) {
        let mut state = self.state.lock();
        state.is_queued = false;
        state.is_ignored = state.signal_of == state.setting;
    }

    /// Its signal is taken: what comes with it, or nothing if the timer was set or deleted meanwhile.
    pub fn taken(self: &Arc<Self>) -> Option<Info> {
        let cpu_time = self.cpu_time();
        let mut state = self.state.lock();
        state.is_queued = false;
        if state.signal_of != state.setting {
            return None;
        }
        state.overrun = 0;
        if state.interval > 0 {
            let late = self.now(&state, cpu_time).saturating_sub(state.deadline);
            let turns = late / state.interval;
            state.overrun = turns.min(i32::MAX as u64) as u32;
            state.deadline =
                state.deadline.saturating_add(turns.saturating_add(1).saturating_mul(state.interval));
            self.arm(&mut state);
        }
        let value = self.notice.value.unwrap_or(u64::from(self.id));
        Some(Info::timer(self.notice.signal, self.id, state.overrun, value))
    }

    /// Ends it; its signal is not delivered any more.
    fn end(&self) {
        let mut state = self.state.lock();
        Self::disarm(&mut state);
        state.setting += 1;
        state.deadline = 0;
    }

    /// Whether it goes by CPU time and is due, `process_ns` being what its process has had.
    fn is_due(&self, process_ns: u64) -> bool {
        let now = match &self.clock {
            Clock::Thread(thread) => thread.upgrade().map_or(0, |thread| thread.cpu_ns()),
            _ => process_ns,
        };
        let state = self.state.lock();
        state.is_watched && now >= state.deadline
    }
}

impl PosixTimers {
    /// Makes a timer that tells `receiver`; EAGAIN if its user has too many. `limit` is the user's RLIMIT_SIGPENDING.
    pub fn create(
        &self,
        (clock_id, clock): (i32, Clock),
        notice: Notice,
        receiver: &Arc<dyn Receiver>,
        (user, limit): (Arc<User>, u64),
    ) -> Result<Arc<PosixTimer>> {
        let id = self.table.lock().new_number();
        let count = user.signals.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        let receiver_of_it = Arc::downgrade(receiver);
        let timer = fallible::arc(PosixTimer {
            id,
            clock_id,
            clock,
            notice,
            receiver: receiver_of_it,
            user,
            state: SpinLock::default(),
        })?;
        if count > limit.min(MOST_TIMERS) {
            return Err(Errno::EAGAIN);
        }
        // Room for its signal, so that none is lost when it runs out.
        let most = self.table.lock().timers.len() + 1;
        receiver.reserve(most)?;
        if let Clock::Process(who) | Clock::Thread(who) = &timer.clock {
            who.upgrade().ok_or(Errno::EINVAL)?.watch(&timer)?;
        }
        self.table.lock().timers.insert(id, timer.clone());
        Ok(timer)
    }

    /// A timer of the process's; EINVAL if there is none of this number.
    pub fn get(&self, id: u32) -> Result<Arc<PosixTimer>> {
        self.table.lock().timers.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// The timer with the greatest number below `id`.
    pub fn before(&self, id: u32) -> Option<Arc<PosixTimer>> {
        self.table.lock().timers.range(..id).next_back().map(|(_, timer)| timer.clone())
    }

    /// The next timer from this number on.
    fn from(&self, id: u32) -> Option<Arc<PosixTimer>> {
        self.table.lock().timers.range(id..).next().map(|(_, timer)| timer.clone())
    }

    /// Bytes of the kernel's memory that the timers take.
    pub fn kernel_memory(&self) -> usize {
        self.table.lock().timers.len() * size_of::<PosixTimer>()
    }

    /// Deletes a timer; EINVAL if there is none of this number.
    pub fn delete(&self, id: u32) -> Result<()> {
        let timer = self.table.lock().timers.remove(&id).ok_or(Errno::EINVAL)?;
        timer.end();
        Ok(())
    }

    /// Deletes all of them.
    pub fn delete_all(&self) {
        while let Some((_, timer)) = { self.table.lock().timers.pop_first() } {
            timer.end();
            drop(timer);
            let _ = spans::point();
        }
    }

    /// Calls `each` with every timer, with nothing locked.
    fn each(&self, mut each: impl FnMut(&Arc<PosixTimer>)) {
        let mut next = 0;
        while let Some(timer) = self.from(next) {
            each(&timer);
            next = timer.id + 1;
        }
    }

    /// A signal is ignored no more: those timers send it that ran out while it was.
    pub fn not_ignored(&self, signal: u32) {
        self.each(|timer| {
            if timer.notice.signal == signal && timer.take_ignored() {
                timer.send();
            }
        });
    }

    /// The wall clock was set: timers that wait for a time of it wait anew.
    pub fn wall_clock_was_set(&self) {
        self.each(|timer| {
            timer.clock_was_set();
            let _ = spans::point();
        });
    }

    /// A tick has come while one of the process's threads ran; `cpu_ns` gives the CPU time that it has had.
    pub fn check_cpu_time(&self, cpu_ns: impl FnOnce() -> u64) {
        if !self.is_watched.load(Ordering::Relaxed) {
            return;
        }
        let now = cpu_ns();
        let mut due: [Option<Arc<PosixTimer>>; DUE_IN_A_TICK] = Default::default();
        {
            let watchers = self.watchers.lock();
            let found = watchers.iter().filter_map(Weak::upgrade).filter(|timer| timer.is_due(now));
            due.iter_mut().zip(found).for_each(|(slot, timer)| *slot = Some(timer));
        }
        due.into_iter().flatten().for_each(|timer| timer.run_out());
    }

    /// Has the timer looked at at each tick, by the CPU time of this process or of one of its threads.
    pub fn watch(&self, timer: &Arc<PosixTimer>) -> Result<()> {
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        if watchers.len() >= MOST_BY_CPU_TIME {
            return Err(Errno::EAGAIN);
        }
        watchers.try_reserve(1).map_err(|_| Errno::EAGAIN)?;
        watchers.push(Arc::downgrade(timer));
        self.is_watched.store(true, Ordering::Relaxed);
        Ok(())
    }
}
