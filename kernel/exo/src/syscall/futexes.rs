// SPDX-License-Identifier: MIT OR Apache-2.0
//! The futex call: its operations.

use exo_hal::time;
use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    futex as core_futex,
    user::{self, TimeSpec},
};

fn deadline(timeout: usize, absolute: bool, realtime: bool) -> Result<Option<u64>> {
    if timeout == 0 {
        return Ok(None);
    }
    let ns = user::read::<TimeSpec>(timeout)?.to_ns()?;
    let now = time::now_ns();
    Ok(Some(match (absolute, realtime) {
        (false, _) => now.saturating_add(ns),
        (true, false) => ns,
        (true, true) => now.saturating_add(ns.saturating_sub(time::wall_ns())),
    }))
}

pub(super) fn futex(
    address: usize,
    op: u32,
    value: u32,
    timeout: usize,
    second: usize,
    value3: u32,
) -> Result {
    let private = op & abi::FUTEX_PRIVATE_FLAG != 0;
    let realtime = op & abi::FUTEX_CLOCK_REALTIME != 0;
    // Where an operation has no timeout, its place holds a second count.
    let (count, second_count) = (value as usize, timeout as u32 as usize);
    match op & !(abi::FUTEX_PRIVATE_FLAG | abi::FUTEX_CLOCK_REALTIME) {
        abi::FUTEX_WAIT => {
            core_futex::wait(address, private, value, deadline(timeout, false, realtime)?, u32::MAX)
        }
        abi::FUTEX_WAIT_BITSET => {
            core_futex::wait(address, private, value, deadline(timeout, true, realtime)?, value3)
        }
        abi::FUTEX_WAKE => core_futex::wake(address, private, count, u32::MAX),
        abi::FUTEX_WAKE_BITSET => core_futex::wake(address, private, count, value3),
        abi::FUTEX_REQUEUE | abi::FUTEX_CMP_REQUEUE if (value as i32) < 0 || (timeout as i32) < 0 => {
            Err(Errno::EINVAL)
        }
        abi::FUTEX_REQUEUE => core_futex::requeue(address, second, private, count, second_count, None),
        abi::FUTEX_CMP_REQUEUE => {
            core_futex::requeue(address, second, private, count, second_count, Some(value3))
        }
        abi::FUTEX_WAKE_OP => core_futex::wake_op(address, second, private, count, second_count, value3),
        _ => Err(Errno::ENOSYS),
    }
}
