// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls on the short path. Nothing here may take a lock, allocate, or switch to another task: the registers that a switch would
//! need are not saved. So no page is waited for either. What cannot be answered under these rules is declined, and takes the full path.

use exo_hal::{hooks::LeanResult, mm::user::now as memory, time};

use zerocopy::IntoBytes;

use super::times::clock_ns;
use crate::{
    errno::Errno, fs::file::Stateless, sched, task::credentials::Which, task::current, user, user::TimeSpec,
};

/// The most bytes that are moved here: there is no preemption point on this path.
const LONGEST: usize = 16 << 10;

#[inline(always)]
fn answer(result: Result<usize, Errno>) -> LeanResult {
    match result {
        Ok(value) => LeanResult::done(value as i64),
        Err(error) => LeanResult::done(-i64::from(error.0)),
    }
}

pub(super) extern "C" fn read(fd: u64, to: u64, length: u64, _: u64) -> LeanResult {
    let length = length as usize;
    if length > LONGEST {
        return LeanResult::full();
    }
    let task = current();
    match task.files.stateless(fd, false) {
        Some(Stateless::Null) => {
            task.account.read(0);
            LeanResult::done(0)
        }
        Some(Stateless::Zero) => match memory::zero(to as usize, length) {
            Ok(()) => {
                task.account.read(length);
                LeanResult::done(length as i64)
            }
            Err(_) => LeanResult::full(),
        },
        None => LeanResult::full(),
    }
}

pub(super) extern "C" fn write(fd: u64, _from: u64, length: u64, _: u64) -> LeanResult {
    let task = current();
    match task.files.stateless(fd, true) {
        Some(_) => {
            let length = length.min(user::MAX_IO as u64);
            task.account.wrote(length as usize);
            LeanResult::done(length as i64)
        }
        None => LeanResult::full(),
    }
}

pub(super) extern "C" fn sched_yield(_: u64, _: u64, _: u64, _: u64) -> LeanResult {
    if sched::has_waiting() { LeanResult::full() } else { LeanResult::done(0) }
}

pub(super) extern "C" fn getpid(_: u64, _: u64, _: u64, _: u64) -> LeanResult {
    LeanResult::done(i64::from(current().pid))
}

pub(super) extern "C" fn gettid(_: u64, _: u64, _: u64, _: u64) -> LeanResult {
    LeanResult::done(i64::from(current().tid()))
}

macro_rules! ids {
    ($($name:ident $which:ident)*) => { $(
        pub(super) extern "C" fn $name(_: u64, _: u64, _: u64, _: u64) -> LeanResult {
            LeanResult::done(i64::from(current().credentials.id(Which::$which)))
        }
    )* };
}

ids!(getuid User geteuid EffectiveUser getgid Group getegid EffectiveGroup);

pub(super) extern "C" fn clock_gettime(clock: u64, to: u64, _: u64, _: u64) -> LeanResult {
    let now = match clock as u32 {
        0 | 5 => time::wall_ns(),
        1 | 4 | 6 | 7 => time::now_ns(),
        other => match clock_ns(other as i32) {
            Ok(now) => now,
            Err(error) => return answer(Err(error)),
        },
    };
    match memory::copy_out(to as usize, TimeSpec::from_ns(now).as_bytes()) {
        Ok(()) => LeanResult::done(0),
        Err(_) => LeanResult::full(),
    }
}

/// A number that no line of the table has: programs that try whether a call exists do so often, and only the first is logged.
pub(super) extern "C" fn unknown(_: u64, _: u64, _: u64, number: u64) -> LeanResult {
    if super::dispatch::is_known_unknown(number) {
        LeanResult::done(-i64::from(Errno::ENOSYS.0))
    } else {
        LeanResult::full()
    }
}
