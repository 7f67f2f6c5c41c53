// SPDX-License-Identifier: GPL-2.0

//! What `poll(2)` reports.

use core::ops::BitOr;
use kernel::bindings;

/// A set of `POLL…` flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollEvents(bindings::__poll_t);

impl PollEvents {
    /// Nothing to report: the caller waits.
    pub const NONE: Self = Self(0);
    /// A read would not wait.
    pub const READABLE: Self = Self(bindings::POLLIN | bindings::POLLRDNORM);
    /// A write would not wait.
    pub const WRITABLE: Self = Self(bindings::POLLOUT | bindings::POLLWRNORM);
    /// The next call fails.
    pub const ERROR: Self = Self(bindings::POLLERR);
    /// The device is gone.
    pub const HANGUP: Self = Self(bindings::POLLHUP);

    /// Returns the flags if `condition` holds, else none.
    pub fn when(self, condition: bool) -> Self {
        if condition {
            self
        } else {
            Self::NONE
        }
    }

    /// Returns the flags as the kernel has them.
    pub(super) fn as_raw(self) -> bindings::__poll_t {
        self.0
    }
}

impl BitOr for PollEvents {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
