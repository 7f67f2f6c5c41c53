// SPDX-License-Identifier: MIT OR Apache-2.0
//! What several tests use.

use std::sync::Arc;

use exo_test_support::{call, programs::*};
use parking_lot::Mutex;

/// What has happened, in order, whichever program did it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().push(what.into());
    }

    /// What was noted since it was asked.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

pub(crate) fn now() -> u64 {
    clock(abi::CLOCK_MONOTONIC)
}

pub(crate) fn eventfd(count: u32, flags: u32) -> Result {
    call!(abi::__NR_eventfd2, count, flags)
}

/// A number as eventfd and timerfd take and give it.
pub(crate) fn add(fd: usize, value: u64) -> Result {
    write(fd, &value.to_ne_bytes())
}

pub(crate) fn take(fd: usize) -> Result<u64> {
    read(fd, 8).map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap()))
}

/// Descriptors of one's own process that are to answer at once.
pub(crate) fn set_nonblocking(fd: usize) {
    call!(abi::__NR_fcntl, fd, abi::F_SETFL, abi::O_NONBLOCK).unwrap();
}
