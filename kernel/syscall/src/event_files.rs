// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that are made to be waited for: epoll, eventfd, signalfd, timerfd.

use alloc::sync::Arc;

use exo_hal::{USER_END, time};
use exo_io::{
    epoll::{self, Asked, Told},
    event_fd, signal_fd,
    timer_fd::{self, Setting},
};
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    polling::with_mask,
    signals,
    timers::{ItimerSpec, write_setting},
};
use crate::{
    errno::{Errno, Result},
    signal::{self, SignalSet},
    task::{credentials::capable, current},
    user::{self, TimeSpec},
};

/// `struct epoll_event`: packed on this machine.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C, packed)]
struct EpollEvent {
    bits: u32,
    data: u64,
}

/// Most events that one call gives: a program that wants more asks again.
const MOST_EVENTS: usize = 1024;

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

/// With a descriptor of one, that listens to other signals from now on.
pub(super) fn signalfd4(fd: i32, mask: usize, size: usize, flags: u32) -> Result {
    signals::check_size(size)?;
    let mask = SignalSet(user::read::<u64>(mask)? & !signal::UNBLOCKABLE.0);
    if flags & !(abi::O_CLOEXEC | abi::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let files = current().files.arc();
    if fd == -1 {
        return files.add(signal_fd::create(mask, flags)?, flags & abi::O_CLOEXEC != 0, 0);
    }
    let file = files.get(fd)?;
    signal_fd::of(&file)?.set_mask(mask);
    Ok(fd as usize)
}

pub(super) fn signalfd(fd: i32, mask: usize, size: usize) -> Result {
    signalfd4(fd, mask, size, 0)
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

pub(super) fn epoll_create1(flags: u32) -> Result {
    if flags & !abi::EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    current().files.arc().add(epoll::create()?, flags & abi::EPOLL_CLOEXEC != 0, 0)
}

pub(super) fn epoll_create(size: i32) -> Result {
    // How many there will be means nothing since Linux 2.6.8.
    if size <= 0 { Err(Errno::EINVAL) } else { epoll_create1(0) }
}

/// What may be asked with EPOLLEXCLUSIVE (`EPOLLEXCLUSIVE_OK_BITS`).
const WITH_EXCLUSIVE: u32 = abi::EPOLLIN
    | abi::EPOLLOUT
    | abi::EPOLLERR
    | abi::EPOLLHUP
    | abi::EPOLLWAKEUP
    | abi::EPOLLET
    | abi::EPOLLEXCLUSIVE;

pub(super) fn epoll_ctl(own: i32, operation: u32, fd: i32, event: usize) -> Result {
    let event = match operation {
        abi::EPOLL_CTL_DEL => EpollEvent { bits: 0, data: 0 },
        _ => user::read::<EpollEvent>(event)?,
    };
    let files = current().files.arc();
    let (own, file) = (files.get(own)?, files.get(fd)?);
    if own.is_path_only() || file.is_path_only() {
        return Err(Errno::EBADF);
    }
    if !file.file().can_be_polled() {
        return Err(Errno::EPERM);
    }
    let epoll = epoll::of(&own)?;
    let is_epoll = epoll::of(&file).is_ok();
    if Arc::ptr_eq(&own, &file) {
        return Err(Errno::EINVAL);
    }
    // The machine never sleeps.
    let bits = (event.bits | abi::EPOLLERR | abi::EPOLLHUP) & !abi::EPOLLWAKEUP;
    let is_exclusive = event.bits & abi::EPOLLEXCLUSIVE != 0;
    let asked = Asked { bits, data: event.data };
    match operation {
        abi::EPOLL_CTL_ADD if is_exclusive && (is_epoll || event.bits & !WITH_EXCLUSIVE != 0) => {
            Err(Errno::EINVAL)
        }
        abi::EPOLL_CTL_MOD if is_exclusive => Err(Errno::EINVAL),
        abi::EPOLL_CTL_ADD => epoll.add(&own, fd, &file, asked),
        abi::EPOLL_CTL_MOD => epoll.modify(fd, &file, asked),
        abi::EPOLL_CTL_DEL => epoll.remove(fd, &file),
        _ => Err(Errno::EINVAL),
    }
    .map(|()| 0)
}

fn tell(told: &Told, at: usize) -> Result<()> {
    user::write(at, &EpollEvent { bits: told.bits, data: told.data })
}

fn wait_until(own: i32, to: usize, most: i32, deadline: Option<u64>) -> Result {
    let most = usize::try_from(most).ok().filter(|most| (1..=i32::MAX as usize / SIZE).contains(most));
    let most = most.ok_or(Errno::EINVAL)?;
    const SIZE: usize = size_of::<EpollEvent>();
    if to.checked_add(most * SIZE).is_none_or(|end| end > USER_END) {
        return Err(Errno::EFAULT);
    }
    let file = current().files.get(own)?;
    let epoll = epoll::of(&file)?;
    let told = epoll.wait(most.min(MOST_EVENTS), deadline)?;
    for (place, event) in told.iter().enumerate() {
        if let Err(error) = tell(event, to + place * SIZE) {
            epoll.put_back(told.get(place..).unwrap_or_default());
            return if place > 0 { Ok(place) } else { Err(error) };
        }
    }
    Ok(told.len())
}

fn after(ns: u64) -> Option<u64> {
    Some(if ns == 0 { 0 } else { time::now_ns().saturating_add(ns) })
}

/// Until when is waited; 0 for not at all.
fn after_ms(timeout: i32) -> Option<u64> {
    u64::try_from(timeout).ok().and_then(|ms| after(ms * 1_000_000))
}

pub(super) fn epoll_wait(own: i32, to: usize, most: i32, timeout: i32) -> Result {
    wait_until(own, to, most, after_ms(timeout))
}

pub(super) fn epoll_pwait(own: i32, to: usize, most: i32, timeout: i32, mask: usize, size: usize) -> Result {
    with_mask(mask, size, || wait_until(own, to, most, after_ms(timeout)))
}

pub(super) fn epoll_pwait2(
    own: i32,
    to: usize,
    most: i32,
    timeout: usize,
    mask: usize,
    size: usize,
) -> Result {
    let deadline = if timeout == 0 { None } else { after(user::read::<TimeSpec>(timeout)?.to_ns()?) };
    with_mask(mask, size, || wait_until(own, to, most, deadline))
}
