// SPDX-License-Identifier: MIT OR Apache-2.0
//! timerfd: a timer that is read, and that can be waited for. One that repeats begins anew when it is read, and counts then what it
//! missed: whatever its interval, it costs no more than the program's own reading of it.

use core::fmt::{self, Write};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use exo_hal::{sync::SpinLock, time};
use exo_vfs::{
    OpenFile,
    events::Events,
    file::{File, Io},
};
use linux_raw_sys::general as abi;

use crate::{
    anonymous,
    errno::{Errno, Result},
    fallible,
    io_buf::IoBuf,
    sched::{
        spans,
        timer::{self, Action, TimerTarget},
        wait::{WaitQueue, wait_for},
    },
};

const SECOND_NS: u64 = 1_000_000_000;

/// What a timer is set to. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// After how long it runs out, or at which time of its clock; 0 for never.
    pub value: u64,
    /// After how long it runs out again; 0 for once.
    pub interval: u64,
    /// `TFD_TIMER_` bits.
    pub flags: u32,
}

#[derive(Default)]
struct State {
    setting: Setting,
    /// When it runs out, by its clock; 0 if it is off.
    deadline: u64,
    /// The deadline is one of the clock that may be set, and moves with it.
    follows_wall: bool,
    /// The clock was set, which the program wants to know (TFD_TIMER_CANCEL_ON_SET).
    is_cancelled: bool,
    /// It has run out since it was read, and will not do so again before.
    has_expired: bool,
    /// How often it has run out since it was read.
    ticks: u64,
    /// Its place among the CPU's timers, while it has one.
    key: Option<timer::Key>,
}

/// A timer.
pub struct TimerFd {
    /// The number of its clock.
    pub clock: i32,
    /// Its clock is the one that may be set.
    is_wall: bool,
    state: SpinLock<State>,
    changed: WaitQueue,
}

/// Timers with a deadline of the clock that may be set, by their addresses. Locked before any of them.
static FOLLOWING: SpinLock<BTreeMap<usize, Weak<TimerFd>>> = SpinLock::new(BTreeMap::new());

struct Handle(Arc<TimerFd>);

/// Makes a timer that goes by the clock with this number; `is_wall` says whether that may be set. Of the `O_` bits `flags`, O_NONBLOCK counts.
///
/// # Errors
/// ENOMEM.
pub fn create(clock: i32, is_wall: bool, flags: u32) -> Result<Arc<OpenFile>> {
    let new = TimerFd { clock, is_wall, state: SpinLock::default(), changed: WaitQueue::new() };
    anonymous::open(Handle(fallible::arc(new)?), 0o600, abi::O_RDWR | flags & abi::O_NONBLOCK)
}

/// The timer behind an open file; EINVAL if it is none.
pub fn of(file: &OpenFile) -> Result<&Arc<TimerFd>> {
    file.file().downcast::<Handle>().map(|handle| &handle.0).ok_or(Errno::EINVAL)
}

/// The clock was set: timers that wait for a time of it wait anew, and programs that asked for it are told. A timer that is set meanwhile is
/// set by the new time.
pub fn wall_clock_was_set() {
    let mut from = 0;
    loop {
        let next = FOLLOWING.lock().range(from..).next().map(|(address, timer)| (*address, timer.upgrade()));
        let Some((address, timer)) = next else { return };
        if let Some(timer) = timer {
            timer.clock_was_set();
        }
        from = address + 1;
        // To the end, also when the task is to end.
        let _ = spans::point();
    }
}

impl State {
    fn now(&self) -> u64 {
        if self.follows_wall { time::wall_ns() } else { time::now_ns() }
    }

    fn left(&self) -> u64 {
        if self.deadline == 0 { 0 } else { self.deadline.saturating_sub(self.now()) }
    }

    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            timer::cancel(key);
        }
    }
}

impl TimerTarget for TimerFd {
    fn expired(self: Arc<Self>) {
        {
            let mut state = self.state.lock();
            if state.key.is_none() || state.now() < state.deadline {
                // It was set to something else meanwhile, or the clock was set, for which it has been or will be started anew.
                return;
            }
            state.disarm();
            state.has_expired = true;
            state.ticks += 1;
        }
        self.changed.wake_for((Events::IN | Events::RDNORM).bits());
    }
}

impl TimerFd {
    /// Starts it towards its deadline.
    fn arm(self: &Arc<Self>, state: &mut State) {
        let mut at = state.deadline;
        if state.follows_wall {
            at = time::now_ns().saturating_add(at.saturating_sub(time::wall_ns()));
        }
        let target: Weak<dyn TimerTarget> = Arc::<Self>::downgrade(self);
        state.key = Some(timer::add(at, Action::Tell(target)));
    }

    /// Of one that repeats and has run out: counts what was missed, and lets it begin anew.
    fn go_on(self: &Arc<Self>, state: &mut State) {
        let interval = state.setting.interval;
        if !state.has_expired || interval == 0 || state.deadline == 0 {
            return;
        }
        let turns = state.now().saturating_sub(state.deadline) / interval + 1;
        state.ticks = state.ticks.saturating_add(turns - 1);
        state.deadline = state.deadline.saturating_add(turns.saturating_mul(interval));
        state.has_expired = false;
        self.arm(state);
    }

    /// Sets it; the old one's remaining time and interval.
    ///
    /// # Errors
    /// ECANCELED if the program wanted to know that the clock is set, and it was since the timer was set last; it is set all the same.
    pub fn set(self: &Arc<Self>, new: Setting) -> Result<(u64, u64)> {
        let is_absolute = new.flags & abi::TFD_TIMER_ABSTIME != 0;
        let follows_wall = self.is_wall && is_absolute;
        let place = Arc::as_ptr(self).addr();
        // Over all of it: the clock may be set meanwhile.
        let mut following = self.is_wall.then(|| FOLLOWING.lock());
        let mut state = self.state.lock();
        self.go_on(&mut state);
        let old = (state.left(), state.setting.interval);
        let was_cancelled = state.is_cancelled;
        state.disarm();
        *state = State { setting: new, follows_wall, ..State::default() };
        match &mut following {
            Some(following) if follows_wall => drop(following.insert(place, Arc::downgrade(self))),
            Some(following) => drop(following.remove(&place)),
            None => {}
        }
        if new.value == 0 {
            return Ok(old);
        }
        let from = if is_absolute { 0 } else { state.now() };
        state.deadline = from.saturating_add(new.value);
        self.arm(&mut state);
        let wants_to_know = follows_wall && new.flags & abi::TFD_TIMER_CANCEL_ON_SET != 0;
        if was_cancelled && wants_to_know { Err(Errno::ECANCELED) } else { Ok(old) }
    }

    /// The remaining time and the interval.
    pub fn setting(self: &Arc<Self>) -> (u64, u64) {
        let mut state = self.state.lock();
        self.go_on(&mut state);
        (state.left(), state.setting.interval)
    }

    fn clock_was_set(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            if !state.follows_wall {
                return;
            }
            if state.key.is_some() {
                state.disarm();
                self.arm(&mut state);
            }
            if state.setting.flags & abi::TFD_TIMER_CANCEL_ON_SET == 0 {
                return;
            }
            state.is_cancelled = true;
        }
        self.changed.wake_all();
    }

    /// How often it has run out, or that the clock was set; none if there is nothing to tell.
    fn take(self: &Arc<Self>) -> Option<Result<u64>> {
        let mut state = self.state.lock();
        if core::mem::take(&mut state.is_cancelled) {
            (state.ticks, state.has_expired) = (0, false);
            return Some(Err(Errno::ECANCELED));
        }
        if state.ticks == 0 {
            return None;
        }
        self.go_on(&mut state);
        state.has_expired = false;
        Some(Ok(core::mem::take(&mut state.ticks)))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.is_wall {
            let gone = FOLLOWING.lock().remove(&Arc::as_ptr(&self.0).addr());
            drop(gone);
        }
        self.0.state.lock().disarm();
    }
}

impl File for Handle {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        if to.left() < size_of::<u64>() {
            return Err(Errno::EINVAL);
        }
        let ticks = match self.0.take() {
            Some(ticks) => ticks?,
            None if io.no_wait => return Err(Errno::EAGAIN),
            None => wait_for(&self.0.changed, || self.0.take()).map_err(|_| Errno::RESTART)??,
        };
        to.put_value(&ticks).map(|()| size_of::<u64>())
    }

    fn splices(&self, _write: bool) -> bool {
        false
    }

    fn events(&self) -> Events {
        let state = self.0.state.lock();
        if state.ticks > 0 || state.is_cancelled { Events::IN } else { Events::empty() }
    }

    fn has_bands(&self) -> bool {
        false
    }

    fn seek_result(&self) -> Option<u64> {
        Some(0)
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.changed)
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("[timerfd]")
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        let (ticks, flags, left, interval) = {
            let state = self.0.state.lock();
            (state.ticks, state.setting.flags, state.left(), state.setting.interval)
        };
        let shown = |ns: u64| (ns / SECOND_NS, ns % SECOND_NS);
        writeln!(out, "clockid: {}\nticks: {ticks}\nsettime flags: 0{flags:o}", self.0.clock)?;
        writeln!(out, "it_value: {:?}\nit_interval: {:?}", shown(left), shown(interval))
    }
}
