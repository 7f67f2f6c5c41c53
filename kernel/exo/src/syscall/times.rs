// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clocks, sleeping, interval timers.

use alloc::sync::Arc;

use exo_hal::time as clock;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    sched::wait::{Ended, sleep_until},
    task::{Process, current, table},
    user::{self, TimeSpec, TimeVal},
};

const TICK_NS: u64 = 10_000_000;
const ABSOLUTE: u32 = 1;

/// What a clock shows, in nanoseconds.
pub(super) fn clock_ns(id: i32) -> Result<u64> {
    Ok(match id {
        0 | 5 | 11 => clock::wall_ns(),
        1 | 4 | 6 | 7 => clock::now_ns(),
        2 => current().process.cpu_ns(),
        3 => current().cpu_ns(),
        // A process's or thread's CPU clock: the number's complement above three bits of kind.
        id if id < 0 => {
            let number = !(id >> 3) as u32;
            match (number, id & 4 != 0) {
                (0, true) => current().cpu_ns(),
                (0, false) => current().process.cpu_ns(),
                (number, true) => table::task(number).ok_or(Errno::EINVAL)?.cpu_ns(),
                (number, false) => table::process(number).ok_or(Errno::EINVAL)?.cpu_ns(),
            }
        }
        _ => return Err(Errno::EINVAL),
    })
}

pub(super) fn clock_gettime(id: i32, to: usize) -> Result {
    user::write(to, &TimeSpec::from_ns(clock_ns(id)?)).map(|()| 0)
}

pub(super) fn clock_getres(id: i32, to: usize) -> Result {
    clock_ns(id)?;
    user::write_optional(to, &TimeSpec { seconds: 0, nanoseconds: 1 }).map(|()| 0)
}

pub(super) fn clock_settime(id: i32, from: usize) -> Result {
    let ns = user::read::<TimeSpec>(from)?.to_ns()?;
    if id != 0 {
        return Err(Errno::EINVAL);
    }
    clock::set_wall_ns(ns);
    Ok(0)
}

/// `get_time`: nanoseconds since boot, in the result itself.
pub(super) fn get_time() -> Result {
    Ok(clock::now_ns() as usize)
}

pub(super) fn gettimeofday(to: usize, zone: usize) -> Result {
    user::write_optional(to, &TimeVal::from_ns(clock::wall_ns()))?;
    user::write_optional(zone, &[0i32; 2]).map(|()| 0)
}

pub(super) fn time(to: usize) -> Result {
    let seconds = clock::wall_ns() / 1_000_000_000;
    user::write_optional(to, &seconds)?;
    Ok(seconds as usize)
}

fn sleep(deadline: u64, remainder: usize) -> Result {
    match sleep_until(Some(deadline)) {
        Ended::TimedOut => Ok(0),
        Ended::Interrupted => {
            let left = deadline.saturating_sub(clock::now_ns());
            user::write_optional(remainder, &TimeSpec::from_ns(left))?;
            Err(Errno::EINTR)
        }
    }
}

pub(super) fn nanosleep(request: usize, remainder: usize) -> Result {
    let ns = user::read::<TimeSpec>(request)?.to_ns()?;
    sleep(clock::now_ns().saturating_add(ns), remainder)
}

pub(super) fn clock_nanosleep(id: i32, flags: u32, request: usize, remainder: usize) -> Result {
    let ns = user::read::<TimeSpec>(request)?.to_ns()?;
    let now = clock::now_ns();
    if flags & ABSOLUTE == 0 {
        clock_ns(id)?;
        return sleep(now.saturating_add(ns), remainder);
    }
    sleep(now.saturating_add(ns.saturating_sub(clock_ns(id)?)), 0)
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

pub(super) fn getitimer(which: u32, to: usize) -> Result {
    if which != 0 {
        return Err(Errno::EINVAL);
    }
    let (left, interval) = process().alarm();
    let value = IntervalTimer { interval: TimeVal::from_ns(interval), value: TimeVal::from_ns(left) };
    user::write(to, &value).map(|()| 0)
}

/// Only the timer of real time exists; those of CPU time are refused.
pub(super) fn setitimer(which: u32, from: usize, old: usize) -> Result {
    if which != 0 {
        return Err(Errno::EINVAL);
    }
    let new: IntervalTimer = user::read(from)?;
    let (left, interval) = process().set_alarm(new.value.to_ns()?, new.interval.to_ns()?);
    let value = IntervalTimer { interval: TimeVal::from_ns(interval), value: TimeVal::from_ns(left) };
    user::write_optional(old, &value).map(|()| 0)
}

pub(super) fn alarm(seconds: u32) -> Result {
    let (left, _) = process().set_alarm(u64::from(seconds) * 1_000_000_000, 0);
    Ok(left.div_ceil(1_000_000_000) as usize)
}

/// CPU time is not divided into user's and kernel's: all counts as the user's.
pub(super) fn times(to: usize) -> Result {
    let process = process();
    let children = process.children_usage.lock().cpu_ns;
    user::write_optional(to, &[process.cpu_ns() / TICK_NS, 0, children / TICK_NS, 0])?;
    Ok((clock::now_ns() / TICK_NS) as usize)
}
