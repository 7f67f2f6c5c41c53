// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one way to end running servers from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::time::Timespec;

/// Ends every [`Server::run`](crate::Server::run) that was given a clone of it, within one message's time. Final: it
/// cannot be taken back.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<OwnedFd>);

impl Shutdown {
    /// A shutdown that has not been asked for.
    ///
    /// # Errors
    /// The process or the system has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Asks the servers to end. Safe to call from any thread, any number of times.
    pub fn trigger(&self) {
        // It can fail only because the count is full, and then it is readable, which is all that matters.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Whether [`Self::trigger`] was called.
    pub fn is_triggered(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(count) if count > 0)
    }
}

/// Readable from the moment of [`Shutdown::trigger`] on, for a program's own `poll`.
impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
