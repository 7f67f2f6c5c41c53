// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clocks, sleeping, interval timers.

mod clock_setting;

use alloc::sync::Arc;

use exo_hal::{cpu::percpu::cpu_count, time as clock};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(super) use clock_setting::{adjtimex, clock_adjtime, clock_settime, settimeofday};

use crate::{
    errno::{Errno, Result},
    sched::wait::{Deadline, Ended, sleep_until},
    task::{Process, Task, cpu_timers::Kind, current, table},
    user::{self, TimeSpec, TimeVal},
};

const TICK_NS: u64 = 10_000_000;
const ABSOLUTE: u32 = 1;
/// What coarse clocks are said to resolve, as on Linux with 250 ticks a second.
const COARSE_NS: i64 = 4_000_000;

/// What a clock shows, in nanoseconds.
pub(super) fn clock_ns(id: i32) -> Result<u64> {
    Ok(match id {
        0 | 5 | 11 => clock::wall_ns(),
        1 | 4 | 6 | 7 => clock::now_ns(),
        _ => match cpu_clock(id)? {
            CpuClock::Process(process) => process.cpu_ns(),
            CpuClock::Thread(thread) => thread.cpu_ns(),
        },
    })
}

/// Whose CPU time a clock shows.
pub(super) enum CpuClock {
    Process(Arc<Process>),
    Thread(Arc<Task>),
}

/// The CPU clock of this number; EINVAL if it is none.
pub(super) fn cpu_clock(id: i32) -> Result<CpuClock> {
    // Above three bits of kind lies the complement of a process's or thread's number.
    let (number, is_thread) = match id {
        2 => (0, false),
        3 => (0, true),
        id if id < 0 && id & 3 != 3 => (!(id >> 3) as u32, id & 4 != 0),
        _ => return Err(Errno::EINVAL),
    };
    Ok(match (number, is_thread) {
        (0, true) => CpuClock::Thread(current().arc()),
        (0, false) => CpuClock::Process(process()),
        (number, true) => CpuClock::Thread(table::task(number).ok_or(Errno::EINVAL)?),
        (number, false) => CpuClock::Process(table::process(number).ok_or(Errno::EINVAL)?),
    })
}

pub(super) fn clock_gettime(id: i32, to: usize) -> Result {
    user::write(to, &TimeSpec::from_ns(clock_ns(id)?)).map(|()| 0)
}

pub(super) fn clock_getres(id: i32, to: usize) -> Result {
    clock_ns(id)?;
    // The coarse ones go on with Linux's tick there; here they are as fine as the others, and that is all that a program may build on.
    let nanoseconds = if matches!(id, 5 | 6) { COARSE_NS } else { 1 };
    user::write_optional(to, &TimeSpec { seconds: 0, nanoseconds }).map(|()| 0)
}

/// `get_time`: nanoseconds since boot, in the result itself.
pub(super) fn get_time() -> Result {
    Ok(clock::now_ns() as usize)
}

pub(super) fn gettimeofday(to: usize, zone: usize) -> Result {
    user::write_optional(to, &TimeVal::from_ns(clock::wall_ns()))?;
    user::write_optional(zone, &clock_setting::zone()).map(|()| 0)
}

pub(super) fn time(to: usize) -> Result {
    let seconds = clock::wall_ns() / 1_000_000_000;
    user::write_optional(to, &seconds)?;
    Ok(seconds as usize)
}

/// Sleeps until `deadline`, or until that of the call that a signal without a handler has interrupted and that now goes on.
fn sleep(deadline: u64, remainder: usize) -> Result {
    let deadline = current().interrupted_wait().unwrap_or(deadline);
    match sleep_until(Some(Deadline::Boot(deadline))) {
        Ended::TimedOut => Ok(0),
        Ended::Interrupted => {
            let left = deadline.saturating_sub(clock::now_ns());
            user::write_optional(remainder, &TimeSpec::from_ns(left))?;
            current().interrupt_wait(deadline);
            Err(Errno::RESTART_UNLESS_HANDLER)
        }
    }
}

pub(super) fn nanosleep(request: usize, remainder: usize) -> Result {
    let ns = user::read::<TimeSpec>(request)?.to_ns()?;
    sleep(clock::now_ns().saturating_add(ns), remainder)
}

pub(super) fn clock_nanosleep(id: i32, flags: u32, request: usize, remainder: usize) -> Result {
    match id {
        // The thread's own time stands still while it sleeps, and nobody can wait for the raw and the coarse clocks.
        3..=6 => return Err(Errno::EOPNOTSUPP),
        _ => {}
    }
    let now_there = clock_ns(id)?;
    let ns = user::read::<TimeSpec>(request)?.to_ns()?;
    if !matches!(id, 0 | 1 | 7 | 11) {
        return sleep_by_cpu_time(id, if flags & ABSOLUTE == 0 { now_there.saturating_add(ns) } else { ns });
    }
    let now = clock::now_ns();
    if flags & ABSOLUTE == 0 {
        return sleep(now.saturating_add(ns), remainder);
    }
    if id != 0 {
        return sleep(now.saturating_add(ns.saturating_sub(now_there)), 0);
    }
    match sleep_until(Some(Deadline::Wall(ns))) {
        Ended::TimedOut => Ok(0),
        Ended::Interrupted => Err(Errno::RESTART_UNLESS_HANDLER),
    }
}

/// Until a process has had so much CPU time. It is looked at at least once in a tick, and not before it can be so far.
fn sleep_by_cpu_time(id: i32, until: u64) -> Result {
    loop {
        let left = match clock_ns(id) {
            Ok(now) if now < until => until - now,
            // Also when the process is gone: its clock goes no further.
            _ => return Ok(0),
        };
        // Every CPU may work for it.
        let soonest = left / cpu_count() as u64;
        let next_look = Deadline::Boot(clock::now_ns().saturating_add(soonest.max(TICK_NS / 10)));
        if sleep_until(Some(next_look)) == Ended::Interrupted {
            return Err(Errno::RESTART_UNLESS_HANDLER);
        }
    }
}

/// `struct itimerval`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct IntervalTimer {
    interval: TimeVal,
    value: TimeVal,
}

fn process() -> Arc<Process> {
    current().process.clone()
}

/// The numbers of interval timers.
mod timer {
    pub(super) const REAL: u32 = 0;
    pub(super) const VIRTUAL: u32 = 1;
    pub(super) const PROFILING: u32 = 2;
}

impl IntervalTimer {
    fn of((left, interval): (u64, u64)) -> Self {
        Self { interval: TimeVal::from_ns(interval), value: TimeVal::from_ns(left.next_multiple_of(1000)) }
    }
}

pub(super) fn getitimer(which: u32, to: usize) -> Result {
    let now = match which {
        timer::REAL => process().alarm(),
        timer::VIRTUAL => process().cpu_timer(Kind::User),
        timer::PROFILING => process().cpu_timer(Kind::All),
        _ => return Err(Errno::EINVAL),
    };
    user::write(to, &IntervalTimer::of(now)).map(|()| 0)
}

pub(super) fn setitimer(which: u32, from: usize, old: usize) -> Result {
    if which > timer::PROFILING {
        return Err(Errno::EINVAL);
    }
    let new: IntervalTimer = user::read(from)?;
    let (delay, interval) = (new.value.to_ns()?, new.interval.to_ns()?);
    let before = match which {
        timer::REAL => process().set_alarm(delay, interval),
        timer::VIRTUAL => process().set_cpu_timer(Kind::User, delay, interval),
        _ => process().set_cpu_timer(Kind::All, delay, interval),
    };
    user::write_optional(old, &IntervalTimer::of(before)).map(|()| 0)
}

pub(super) fn alarm(seconds: u32) -> Result {
    let (left, _) = process().set_alarm(u64::from(seconds) * 1_000_000_000, 0);
    Ok(left.div_ceil(1_000_000_000) as usize)
}

pub(super) fn times(to: usize) -> Result {
    let process = process();
    let children = *process.children_usage.lock();
    let parts = |all: u64, user: u64| [user / TICK_NS, all.saturating_sub(user) / TICK_NS];
    let [user, system] = parts(process.cpu_ns(), process.user_ns());
    let [children_user, children_system] = parts(children.cpu_ns, children.user_ns);
    user::write_optional(to, &[user, system, children_user, children_system])?;
    Ok((clock::now_ns() / TICK_NS) as usize)
}
