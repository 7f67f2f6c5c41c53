// SPDX-License-Identifier: MIT OR Apache-2.0
//! Futexes: waiting for a word of memory to change, and waking who waits. A word is named by its address space and address,
//! or, if it is in shared memory, by what is shared and its place in that. Those that know their owner and inherit priorities: [`pi`].

pub mod pi;
pub mod robust;

mod vector;
mod waiters;

pub use vector::{Word, wait_for_any};

use exo_logic::sleep::Waiters;

use self::waiters::{Key, Waiter};
use crate::{
    errno::{Errno, Result},
    sched::wait::{Deadline, Ended, wait_until},
    user,
};

/// In the word of a lock: its owner ended while it had it, somebody waits for it, the owner's number.
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;
const OWNER: u32 = 0x3fff_ffff;

static WAITING: Waiters = Waiters::new();

/// Waits until somebody wakes the word, if it still is `expected`.
pub fn wait(address: usize, private: bool, expected: u32, deadline: Option<Deadline>, mask: u32) -> Result {
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    // One for each thread, paid from the reserve: C libraries do not know that waiting can fail.
    let key = Key::of(address, private)?;
    let waiter = Waiter::new(key, mask, None);
    WAITING.enter();
    waiter.enter(key);
    // Who changes the word after this load finds us in the table.
    let result = match user::load_u32(address) {
        Err(error) => Err(error.into()),
        Ok(value) if value != expected => Err(Errno::EAGAIN),
        Ok(_) => match wait_until(deadline, true, || waiter.is_woken().then_some(())) {
            Ok(()) => Ok(0),
            Err(Ended::TimedOut) => Err(Errno::ETIMEDOUT),
            Err(Ended::Interrupted) => Err(Errno::RESTART),
        },
    };
    // Who wakes somebody takes him out of the table.
    if !waiter.is_woken() {
        waiter.leave();
    }
    WAITING.leave();
    // A wake-up that came together with a signal or the deadline must not be lost.
    if waiter.is_woken() { Ok(0) } else { result }
}

/// Whether nobody waits for any word. Who begins to wait after this sees what the caller changed before.
fn nobody_waits() -> bool {
    WAITING.are_none()
}

/// Wakes up to `count`. EINVAL if one of them waits for a lock with an owner: who wakes it has to be that.
fn wake_key(key: Key, count: usize, mask: u32) -> Result {
    if pi::has_waiters(key) {
        return Err(Errno::EINVAL);
    }
    waiters::wake(key, count, mask)
}

/// Wakes up to `count` that wait for the word with a common bit in `mask`.
pub fn wake(address: usize, private: bool, count: usize, mask: u32) -> Result {
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    // The word of a private one is not looked at, and so far not even whose it is.
    if private && address % 4 == 0 && nobody_waits() {
        return Ok(0);
    }
    wake_key(Key::of(address, private)?, count, mask)
}

/// Wakes up to `count`, however they named the word. In private memory both names may mean the same.
pub fn wake_address(address: usize, count: usize) {
    if nobody_waits() {
        return;
    }
    let mut left = count;
    for private in [true, false] {
        if let Ok(key) = Key::of(address, private) {
            // Whatever else waits there is not concerned.
            left -= wake_key(key, left, u32::MAX).unwrap_or(0).min(left);
        }
    }
}

/// Wakes some that wait for the word and lets others wait for another word instead; returns how many were found, woken or moved. (The
/// manual says that FUTEX_REQUEUE counts only those that were woken; Linux counts both.)
pub fn requeue(
    from: usize,
    to: usize,
    private: bool,
    wake_count: usize,
    move_count: usize,
    expected: Option<u32>,
) -> Result {
    let (from_key, to_key) = (Key::of(from, private)?, Key::of(to, private)?);
    if let Some(expected) = expected {
        if user::load_u32(from)? != expected {
            return Err(Errno::EAGAIN);
        }
    }
    let woken = wake_key(from_key, wake_count, u32::MAX)?;
    Ok(woken + waiters::requeue(from_key, to_key, move_count)?)
}

/// FUTEX_WAKE_OP: changes the second word atomically, wakes on the first, and on the second if its old value compares.
pub fn wake_op(
    first: usize,
    second: usize,
    private: bool,
    count: usize,
    second_count: usize,
    op: u32,
) -> Result {
    let sign_extend = |v: u32| ((v << 20) as i32) >> 20;
    let (operation, compare) = ((op >> 28) & 7, (op >> 24) & 15);
    let mut argument = sign_extend((op >> 12) & 0xfff) as u32;
    if op >> 31 != 0 {
        argument = 1u32.checked_shl(argument & 31).unwrap_or(0);
    }
    let (first_key, second_key) = (Key::of(first, private)?, Key::of(second, private)?);
    let mut old = user::load_u32(second)?;
    loop {
        let new = match operation {
            0 => argument,
            1 => old.wrapping_add(argument),
            2 => old | argument,
            3 => old & !argument,
            4 => old ^ argument,
            _ => return Err(Errno::ENOSYS),
        };
        match user::compare_exchange_u32(second, old, new)? {
            seen if seen == old => break,
            seen => old = seen,
        }
    }
    let (value, limit) = (old as i32, sign_extend(op & 0xfff));
    let holds = match compare {
        0 => value == limit,
        1 => value != limit,
        2 => value < limit,
        3 => value <= limit,
        4 => value > limit,
        5 => value >= limit,
        _ => return Err(Errno::ENOSYS),
    };
    let woken = wake_key(first_key, count, u32::MAX)?;
    Ok(woken + if holds { wake_key(second_key, second_count, u32::MAX)? } else { 0 })
}
