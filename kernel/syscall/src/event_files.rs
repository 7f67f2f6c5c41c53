// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that are made to be waited for: eventfd, timerfd.

use exo_io::{
    event_fd,
    timer_fd::{self, Setting},
};
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

use super::timers::ItimerSpec;
use crate::{
    errno::{Errno, Result},
    task::{credentials::capable, current},
    user::{self, TimeSpec},
};

/// CLOCK_REALTIME_ALARM and CLOCK_BOOTTIME_ALARM.
const ALARMS: [i32; 2] = [8, 9];

pub(super) fn eventfd2(count: u32, flags: u32) -> Result {
    if flags & !(abi::EFD_SEMAPHORE | abi::O_CLOEXEC | abi::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = event_fd::create(count.into(), flags & abi::EFD_SEMAPHORE != 0, flags)?;
    current().files.arc().add(file, flags & abi::O_CLOEXEC != 0, 0)
}

pub(super) fn eventfd(count: u32) -> Result {
    eventfd2(count, 0)
}

fn check_alarm(clock: i32) -> Result<()> {
    // The machine never sleeps, so that none has to be woken.
    if ALARMS.contains(&clock) && !capable(capability::WAKE_ALARM) { Err(Errno::EPERM) } else { Ok(()) }
}

pub(super) fn timerfd_create(clock: i32, flags: u32) -> Result {
    // CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME.
    if flags & !(abi::O_CLOEXEC | abi::O_NONBLOCK) != 0 || ![0, 1, 7, 8, 9].contains(&clock) {
        return Err(Errno::EINVAL);
    }
    check_alarm(clock)?;
    let file = timer_fd::create(clock, matches!(clock, 0 | 8), flags)?;
    current().files.arc().add(file, flags & abi::O_CLOEXEC != 0, 0)
}

fn write_setting(to: usize, (left, interval): (u64, u64)) -> Result {
    let setting = ItimerSpec { interval: TimeSpec::from_ns(interval), value: TimeSpec::from_ns(left) };
    user::write_optional(to, &setting).map(|()| 0)
}

pub(super) fn timerfd_settime(fd: i32, flags: u32, from: usize, old: usize) -> Result {
    let new: ItimerSpec = user::read(from)?;
    if flags & !(abi::TFD_TIMER_ABSTIME | abi::TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    let (value, interval) = (new.value.to_ns()?, new.interval.to_ns()?);
    let file = current().files.get(fd)?;
    let timer = timer_fd::of(&file)?;
    check_alarm(timer.clock)?;
    write_setting(old, timer.set(Setting { value, interval, flags })?)
}

pub(super) fn timerfd_gettime(fd: i32, to: usize) -> Result {
    let file = current().files.get(fd)?;
    let setting = timer_fd::of(&file)?.setting();
    if to == 0 { Err(Errno::EFAULT) } else { write_setting(to, setting) }
}
