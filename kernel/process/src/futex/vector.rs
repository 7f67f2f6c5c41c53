// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for several words at once (futex_waitv).

use alloc::{sync::Arc, vec::Vec};

use super::{
    WAITING,
    waiters::{Key, Waiter},
};
use crate::{
    errno::{Errno, Result},
    fallible,
    sched::wait::{Deadline, Ended, wait_until},
    user,
};

/// A word to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Where it is.
    pub address: usize,
    /// Nobody outside of the process wakes it.
    pub private: bool,
    /// What it must be for the wait to begin.
    pub expected: u32,
}

/// Waits until somebody wakes one of the words, if each is what is expected; which one. If several were, then the last of them.
pub fn wait_for_any(words: &[Word], deadline: Option<Deadline>) -> Result {
    let mut waiters: Vec<Arc<Waiter>> = fallible::list(words.len())?;
    for word in words {
        waiters.push(Waiter::new(Key::of(word.address, word.private)?, u32::MAX, None));
    }
    let woken = || waiters.iter().rposition(|waiter| waiter.is_woken());
    WAITING.enter();
    let mut result = Ok(0);
    for (word, waiter) in words.iter().zip(&waiters) {
        waiter.enter(waiter.key());
        // Who changes the word after this load finds the waiter in the table.
        result = match user::load_u32(word.address) {
            Err(error) => Err(error.into()),
            Ok(value) if value != word.expected => Err(Errno::EAGAIN),
            Ok(_) => continue,
        };
        break;
    }
    if result.is_ok() {
        result = wait_until(deadline, true, woken).map_err(|ended| match ended {
            Ended::TimedOut => Errno::ETIMEDOUT,
            Ended::Interrupted => Errno::RESTART,
        });
    }
    waiters.iter().for_each(|waiter| waiter.leave());
    WAITING.leave();
    // A wake-up that came meanwhile must not be lost.
    woken().map_or(result, Ok)
}
