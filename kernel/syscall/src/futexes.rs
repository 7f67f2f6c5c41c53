// SPDX-License-Identifier: MIT OR Apache-2.0
//! The futex calls: their operations.

use exo_hal::time;
use linux_raw_sys::general as abi;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    fallible,
    futex::{self as core_futex, Word, pi},
    sched::wait::Deadline,
    user::{self, TimeSpec},
};

/// A time on one of the clocks.
fn absolute(ns: u64, realtime: bool) -> Deadline {
    if realtime { Deadline::Wall(ns) } else { Deadline::Boot(ns) }
}

pub(super) fn futex(
    address: usize,
    op: u32,
    value: u32,
    timeout: usize,
    second: usize,
    value3: u32,
) -> Result {
    // What C libraries do all the time comes first.
    if op == abi::FUTEX_WAKE_PRIVATE {
        return core_futex::wake(address, true, value as usize, u32::MAX);
    }
    if op == abi::FUTEX_WAIT_PRIVATE && timeout == 0 {
        return core_futex::wait(address, true, value, None, u32::MAX);
    }
    let private = op & abi::FUTEX_PRIVATE_FLAG != 0;
    let realtime = op & abi::FUTEX_CLOCK_REALTIME != 0;
    let operation = op & !(abi::FUTEX_PRIVATE_FLAG | abi::FUTEX_CLOCK_REALTIME);
    let has_timeout = matches!(
        operation,
        abi::FUTEX_WAIT
            | abi::FUTEX_WAIT_BITSET
            | abi::FUTEX_LOCK_PI
            | abi::FUTEX_LOCK_PI2
            | abi::FUTEX_WAIT_REQUEUE_PI
    );
    let deadline = if has_timeout && timeout != 0 {
        let ns = user::read::<TimeSpec>(timeout)?.to_ns()?;
        Some(match operation {
            abi::FUTEX_WAIT => Deadline::Boot(time::now_ns().saturating_add(ns)),
            // The first of its kind has always taken the wall clock.
            abi::FUTEX_LOCK_PI => Deadline::Wall(ns),
            _ => absolute(ns, realtime),
        })
    } else {
        None
    };
    let chooses_clock =
        matches!(operation, abi::FUTEX_WAIT_BITSET | abi::FUTEX_LOCK_PI2 | abi::FUTEX_WAIT_REQUEUE_PI);
    if realtime && !chooses_clock {
        return Err(Errno::ENOSYS);
    }
    // Where an operation has no timeout, its place holds a second count.
    let (count, second_count) = (value as usize, timeout as u32 as usize);
    match operation {
        abi::FUTEX_WAIT => core_futex::wait(address, private, value, deadline, u32::MAX),
        abi::FUTEX_WAIT_BITSET => core_futex::wait(address, private, value, deadline, value3),
        abi::FUTEX_WAKE => core_futex::wake(address, private, count, u32::MAX),
        abi::FUTEX_WAKE_BITSET => core_futex::wake(address, private, count, value3),
        abi::FUTEX_REQUEUE | abi::FUTEX_CMP_REQUEUE | abi::FUTEX_CMP_REQUEUE_PI
            if (value as i32) < 0 || (timeout as i32) < 0 =>
        {
            Err(Errno::EINVAL)
        }
        abi::FUTEX_REQUEUE => core_futex::requeue(address, second, private, count, second_count, None),
        abi::FUTEX_CMP_REQUEUE => {
            core_futex::requeue(address, second, private, count, second_count, Some(value3))
        }
        abi::FUTEX_WAKE_OP => core_futex::wake_op(address, second, private, count, second_count, value3),
        abi::FUTEX_LOCK_PI | abi::FUTEX_LOCK_PI2 => pi::lock(address, private, deadline, false),
        abi::FUTEX_TRYLOCK_PI => pi::lock(address, private, None, true),
        abi::FUTEX_UNLOCK_PI => pi::unlock(address, private),
        abi::FUTEX_WAIT_REQUEUE_PI => pi::wait_requeue(address, second, private, value, deadline),
        abi::FUTEX_CMP_REQUEUE_PI if count != 1 => Err(Errno::EINVAL),
        abi::FUTEX_CMP_REQUEUE_PI => pi::requeue(address, second, private, second_count, value3),
        _ => Err(Errno::ENOSYS),
    }
}

/// `struct futex_waitv`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Entry {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// Most words that one call waits for.
const MOST_WORDS: u32 = 128;

pub(super) fn futex_waitv(list: usize, count: u32, flags: u32, timeout: usize, clock: i32) -> Result {
    if flags != 0 || count == 0 || count > MOST_WORDS || list == 0 {
        return Err(Errno::EINVAL);
    }
    let deadline = if timeout == 0 {
        None
    } else if !matches!(clock as u32, abi::CLOCK_REALTIME | abi::CLOCK_MONOTONIC) {
        return Err(Errno::EINVAL);
    } else {
        Some(absolute(user::read::<TimeSpec>(timeout)?.to_ns()?, clock as u32 == abi::CLOCK_REALTIME))
    };
    let mut words = fallible::list(count as usize)?;
    for index in 0..count as usize {
        let entry: Entry = user::read(list.wrapping_add(index * size_of::<Entry>()))?;
        // Words of 32 bits alone, wherever their memory is.
        let is_known = entry.flags & !abi::FUTEX2_PRIVATE == abi::FUTEX2_SIZE_U32;
        let value = u32::try_from(entry.value);
        let (true, 0, Ok(expected)) = (is_known, entry.reserved, value) else { return Err(Errno::EINVAL) };
        let private = entry.flags & abi::FUTEX2_PRIVATE != 0;
        words.push(Word { address: entry.address as usize, private, expected });
    }
    core_futex::wait_for_any(&words, deadline)
}
