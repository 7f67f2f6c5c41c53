// SPDX-License-Identifier: MIT OR Apache-2.0
//! POSIX timers: timer_create and its kin.

use alloc::sync::Arc;

use exo_core::thread::soft_limit;
use exo_logic::credentials::capability;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::times::{self, CpuClock};
use crate::{
    errno::{Errno, Result},
    signal::{self, number},
    task::{
        credentials::capable,
        current, limits,
        posix_timers::{self, Clock, Notice, Receiver, kind},
        table,
    },
    user::{self, TimeSpec},
};

/// TIMER_ABSTIME.
const ABSOLUTE: u32 = 1;

/// `struct sigevent`: SIGEV_THREAD's function and attributes are the C library's own business.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Event {
    value: u64,
    signal: i32,
    notify: u32,
    thread: i32,
    _pad: [u32; 11],
}

/// `struct itimerspec`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct ItimerSpec {
    pub(super) interval: TimeSpec,
    pub(super) value: TimeSpec,
}

fn clock_of(id: i32) -> Result<Clock> {
    Ok(match id {
        // International atomic time is not known to be other than that of the wall.
        0 | 11 => Clock::Wall,
        1 | 7 => Clock::Boot,
        // The machine never sleeps, so that none has to be woken.
        8 | 9 if !capable(capability::WAKE_ALARM) => return Err(Errno::EPERM),
        8 => Clock::Wall,
        9 => Clock::Boot,
        // Clocks that nobody can wait for.
        4..=6 => return Err(Errno::EOPNOTSUPP),
        _ => match times::cpu_clock(id)? {
            CpuClock::Process(process) => {
                let process: Arc<dyn posix_timers::CpuClock> = process;
                Clock::Process(Arc::downgrade(&process))
            }
            CpuClock::Thread(thread) => {
                let thread: Arc<dyn posix_timers::CpuClock> = thread;
                Clock::Thread(Arc::downgrade(&thread))
            }
        },
    })
}

/// What happens, and to whom.
fn notice_of(event: &Event) -> Result<(Notice, Arc<dyn Receiver>)> {
    let receiver: Arc<dyn Receiver> = match event.notify {
        kind::THREAD_ID => {
            let thread = table::task(event.thread as u32).ok_or(Errno::EINVAL)?;
            if !Arc::ptr_eq(&thread.process, &current().process) {
                return Err(Errno::EINVAL);
            }
            thread
        }
        kind::SIGNAL | kind::THREAD | kind::NONE => current().process.clone(),
        _ => return Err(Errno::EINVAL),
    };
    if event.notify != kind::NONE && !signal::is_valid(event.signal as u32) {
        return Err(Errno::EINVAL);
    }
    Ok((Notice { kind: event.notify, signal: event.signal as u32, value: Some(event.value) }, receiver))
}

pub(super) fn timer_create(clock: i32, event: usize, to: usize) -> Result {
    let task = current();
    let (notice, receiver): (_, Arc<dyn Receiver>) = match event {
        0 => (Notice { kind: kind::SIGNAL, signal: number::SIGALRM, value: None }, task.process.clone()),
        at => notice_of(&user::read(at)?)?,
    };
    let limit = soft_limit(limits::index::SIGPENDING);
    let user = task.credentials.get().user.clone();
    let timers = &task.process.posix_timers;
    let timer = timers.create((clock, clock_of(clock)?), notice, &receiver, (user, limit))?;
    if let Err(error) = user::write(to, &timer.id) {
        timers.delete(timer.id)?;
        return Err(error);
    }
    Ok(0)
}

pub(super) fn write_setting(to: usize, (left, interval): (u64, u64)) -> Result {
    let setting = ItimerSpec { interval: TimeSpec::from_ns(interval), value: TimeSpec::from_ns(left) };
    user::write_optional(to, &setting).map(|()| 0)
}

pub(super) fn timer_settime(id: u32, flags: u32, from: usize, old: usize) -> Result {
    if from == 0 {
        return Err(Errno::EINVAL);
    }
    let new: ItimerSpec = user::read(from)?;
    let (value, interval) = (new.value.to_ns()?, new.interval.to_ns()?);
    let timer = current().process.posix_timers.get(id)?;
    write_setting(old, timer.set(value, interval, flags & ABSOLUTE != 0))
}

pub(super) fn timer_gettime(id: u32, to: usize) -> Result {
    let timer = current().process.posix_timers.get(id)?;
    let setting = timer.setting();
    if to == 0 {
        return Err(Errno::EFAULT);
    }
    write_setting(to, setting)
}

pub(super) fn timer_getoverrun(id: u32) -> Result {
    Ok(current().process.posix_timers.get(id)?.overrun() as usize)
}

pub(super) fn timer_delete(id: u32) -> Result {
    current().process.posix_timers.delete(id).map(|()| 0)
}
