// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a call on a socket waits, as SO_RCVTIMEO, SO_SNDTIMEO and O_NONBLOCK say.

use exo_hal::time;

use crate::{
    errno::{Errno, Result},
    sched::wait::{Ended, WaitQueue, wait_after_look},
};

/// How long a call goes on waiting, all its waits together.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// It does not wait at all.
    pub no_wait: bool,
    timeout: u64,
    deadline: Option<u64>,
}

impl Patience {
    /// For a call that must not wait, or not longer than `timeout` nanoseconds; 0 for no limit.
    #[inline]
    pub fn new(no_wait: bool, timeout: u64) -> Self {
        Self { no_wait, timeout, deadline: None }
    }

    /// Waits in a queue until `ready` says something.
    ///
    /// # Errors
    /// What that says; EAGAIN if it would have to wait, or has waited as long as it may. Interrupted by a signal, the call is restarted as that
    /// one's action says, or EINTR with a time limit, which would begin anew.
    #[inline]
    pub fn wait<T>(&mut self, queue: &WaitQueue, mut ready: impl FnMut() -> Option<Result<T>>) -> Result<T> {
        if let Some(result) = ready() {
            return result;
        }
        if self.no_wait {
            return Err(Errno::EAGAIN);
        }
        if self.timeout > 0 && self.deadline.is_none() {
            self.deadline = Some(time::now_ns().saturating_add(self.timeout));
        }
        match wait_after_look(&[queue], self.deadline, true, ready) {
            Ok(result) => result,
            Err(Ended::TimedOut) => Err(Errno::EAGAIN),
            Err(Ended::Interrupted) if self.timeout > 0 => Err(Errno::EINTR),
            Err(Ended::Interrupted) => Err(Errno::RESTART),
        }
    }
}
