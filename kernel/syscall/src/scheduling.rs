// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nice values and scheduling policies.

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::processes::task;
use crate::{
    errno::{Errno, Result},
    futex::pi,
    sched::{
        self, SLICE_NS,
        policy::{Policy, ROUND_NS},
        spans,
    },
    task::{Process, Task, credentials::capable, current, limits::index, table},
    user::{self, TimeSpec},
};

/// Whose nice value, as `getpriority` has it.
mod who {
    pub(super) const PROCESS: u32 = 0;
    pub(super) const GROUP: u32 = 1;
    pub(super) const USER: u32 = 2;
}

/// The threads of these processes; it may lack some if the task is to end.
fn threads(processes: impl Iterator<Item = Arc<Process>>) -> Vec<Arc<Task>> {
    let mut all = Vec::new();
    for process in processes {
        all.extend(process.threads.lock().values().cloned());
        if spans::point() {
            break;
        }
    }
    all
}

/// The threads that `which` and `who` mean; as on Linux a process's number means its first thread.
fn chosen(which: u32, who: u32) -> Result<Vec<Arc<Task>>> {
    let found: Vec<_> = match which {
        who::PROCESS => task(who).into_iter().collect(),
        who::GROUP if who == 0 => threads(table::group(current().process.group.load(Ordering::Relaxed))),
        who::GROUP => threads(table::group(who)),
        who::USER => {
            let user = if who == 0 { current().credentials.get().users.real } else { who };
            threads(table::walk().filter(|process| process.user_id() == user))
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() { Err(Errno::ESRCH) } else { Ok(found) }
}

/// 20 minus the smallest nice value.
pub(super) fn getpriority(which: u32, who: u32) -> Result {
    let nice = chosen(which, who)?.iter().map(|task| task.schedule.policy().nice).min();
    Ok(nice.map_or(20, |nice| 20 - nice) as usize)
}

pub(super) fn setpriority(which: u32, who: u32, nice: i32) -> Result {
    let nice = nice.clamp(-20, 19);
    let mut result = Ok(0);
    for task in chosen(which, who)? {
        let now = task.schedule.policy();
        if !may_change(&task) {
            result = Err(Errno::EPERM);
        } else if nice < now.nice && !may_raise_nice(nice) {
            result = Err(Errno::EACCES);
        } else {
            set_policy(&task, Policy { nice, ..now });
        }
    }
    result
}

/// Sets it for a task, and for those that it waits for.
fn set_policy(task: &Arc<Task>, policy: Policy) {
    sched::set_policy(task, policy);
    pi::priority_changed(task);
}

/// Whether the caller may change how `task` is scheduled: its own threads, those of its user, or with CAP_SYS_NICE any.
pub(super) fn may_change(task: &Task) -> bool {
    let (own, other) = (current().credentials.get(), task.credentials.get());
    let same = own.users.effective == other.users.effective || own.users.effective == other.users.real;
    same || capable(capability::SYS_NICE)
}

/// Whether a nice value may become so small: RLIMIT_NICE counts upwards from 19.
fn may_raise_nice(nice: i32) -> bool {
    let limit = current().process.limits.lock()[index::NICE].soft;
    u64::from((20 - nice).unsigned_abs()) <= limit || capable(capability::SYS_NICE)
}

/// A thread's number, which may not be negative.
fn checked(tid: i32) -> Result<Arc<Task>> {
    task(u32::try_from(tid).map_err(|_| Errno::EINVAL)?)
}

fn set(task: &Arc<Task>, number: u32, real_time: u32, nice: i32, reset_on_fork: bool) -> Result {
    let known = matches!(
        number,
        abi::SCHED_NORMAL | abi::SCHED_FIFO | abi::SCHED_RR | abi::SCHED_BATCH | abi::SCHED_IDLE
    );
    let range = if Policy::is_real_time(number) { 1..=99 } else { 0..=0 };
    if !known || !range.contains(&real_time) {
        return Err(Errno::EINVAL);
    }
    let now = task.schedule.policy();
    let most = current().process.limits.lock()[index::RTPRIO].soft;
    let raises =
        u64::from(real_time) > most.max(now.real_time.into()) || nice < now.nice && !may_raise_nice(nice);
    if !may_change(task) || (raises || now.reset_on_fork && !reset_on_fork) && !capable(capability::SYS_NICE)
    {
        return Err(Errno::EPERM);
    }
    set_policy(task, Policy { number, real_time, nice, reset_on_fork });
    Ok(0)
}

pub(super) fn sched_getscheduler(tid: i32) -> Result {
    let policy = checked(tid)?.schedule.policy();
    Ok((policy.number | if policy.reset_on_fork { abi::SCHED_RESET_ON_FORK } else { 0 }) as usize)
}

pub(super) fn sched_setscheduler(tid: i32, number: i32, parameters: usize) -> Result {
    if parameters == 0 || number < 0 {
        return Err(Errno::EINVAL);
    }
    let number = number as u32;
    let real_time: u32 = user::read(parameters)?;
    let task = checked(tid)?;
    let (flag, nice) = (abi::SCHED_RESET_ON_FORK, task.schedule.policy().nice);
    set(&task, number & !flag, real_time, nice, number & flag != 0)
}

pub(super) fn sched_getparam(tid: i32, to: usize) -> Result {
    if to == 0 {
        return Err(Errno::EINVAL);
    }
    user::write(to, &checked(tid)?.schedule.policy().real_time).map(|()| 0)
}

pub(super) fn sched_setparam(tid: i32, from: usize) -> Result {
    if from == 0 {
        return Err(Errno::EINVAL);
    }
    let real_time: u32 = user::read(from)?;
    let task = checked(tid)?;
    let now = task.schedule.policy();
    set(&task, now.number, real_time, now.nice, now.reset_on_fork)
}

pub(super) fn sched_get_priority_max(policy: u32) -> Result {
    limit(policy, 99)
}

pub(super) fn sched_get_priority_min(policy: u32) -> Result {
    limit(policy, 1)
}

fn limit(policy: u32, real_time: usize) -> Result {
    match policy {
        abi::SCHED_FIFO | abi::SCHED_RR => Ok(real_time),
        abi::SCHED_NORMAL | abi::SCHED_BATCH | abi::SCHED_IDLE | abi::SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// How long a thread runs while others wait; without end for SCHED_FIFO, which is told as 0.
pub(super) fn sched_rr_get_interval(tid: i32, to: usize) -> Result {
    let ns = match checked(tid)?.schedule.policy().number {
        abi::SCHED_FIFO => 0,
        abi::SCHED_RR => ROUND_NS,
        _ => SLICE_NS,
    };
    user::write(to, &TimeSpec::from_ns(ns)).map(|()| 0)
}

/// `struct sched_attr` as far as its first version has it; programs may hand over more.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// For SCHED_DEADLINE, which there is not.
    runtime: u64,
    deadline: u64,
    period: u64,
}

const ATTRIBUTES: u32 = size_of::<Attributes>() as u32;
/// With the bounds of utilisation that later versions have.
const LARGEST: u32 = 4096;
const RESET_ON_FORK: u64 = 1;
const KEEP_POLICY: u64 = 8;
const KEEP_PARAMETERS: u64 = 16;

fn bytes_after(address: usize, size: u32) -> Result<bool> {
    for at in ATTRIBUTES..size {
        if user::read::<u8>(address.wrapping_add(at as usize))? != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn sched_setattr(tid: i32, from: usize, flags: u32) -> Result {
    if from == 0 || tid < 0 || flags != 0 {
        return Err(Errno::EINVAL);
    }
    let size = match user::read::<u32>(from)? {
        0 => ATTRIBUTES,
        size => size,
    };
    if !(ATTRIBUTES..=LARGEST).contains(&size) || bytes_after(from, size)? {
        user::write(from, &ATTRIBUTES)?;
        return Err(Errno::E2BIG);
    }
    let wanted: Attributes = user::read(from)?;
    let task = checked(tid)?;
    let now = task.schedule.policy();
    if wanted.flags & !(RESET_ON_FORK | KEEP_POLICY | KEEP_PARAMETERS) != 0 {
        return Err(Errno::EINVAL);
    }
    let number = if wanted.flags & KEEP_POLICY != 0 { now.number } else { wanted.policy };
    let (real_time, nice) = match wanted.flags & KEEP_PARAMETERS != 0 {
        true => (now.real_time, now.nice),
        // Real-time policies leave the nice value alone.
        false if Policy::is_real_time(number) => (wanted.priority, now.nice),
        false => (wanted.priority, wanted.nice.clamp(-20, 19)),
    };
    set(&task, number, real_time, nice, wanted.flags & RESET_ON_FORK != 0)
}

pub(super) fn sched_getattr(tid: i32, to: usize, size: u32, flags: u32) -> Result {
    if to == 0 || tid < 0 || flags != 0 || !(ATTRIBUTES..=LARGEST).contains(&size) {
        return Err(Errno::EINVAL);
    }
    let policy = checked(tid)?.schedule.policy();
    let attributes = Attributes {
        size: ATTRIBUTES,
        policy: policy.number,
        flags: if policy.reset_on_fork { RESET_ON_FORK } else { 0 },
        nice: if Policy::is_real_time(policy.number) { 0 } else { policy.nice },
        priority: policy.real_time,
        runtime: 0,
        deadline: 0,
        period: 0,
    };
    user::write(to, &attributes).map(|()| 0)
}
