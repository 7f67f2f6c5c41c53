// SPDX-License-Identifier: MIT OR Apache-2.0
//! Puts whole messages on the socket, from several threads: the server answers, workers ask for guest memory.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg, shutdown};
use rustix::time::Timespec;

use crate::reaper::PeerFd;
use crate::shutdown::Shutdown;

/// The sending side of a connection.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: PeerFd,
    /// Held while a message is being written, so that messages of two threads never mix.
    whole_message: Mutex<()>,
    patience: Duration,
    shutdown: Shutdown,
}

impl Sender {
    /// Sends on `socket`, waiting at most `patience` for a peer that does not read.
    pub(crate) fn new(socket: PeerFd, patience: Duration, shutdown: Shutdown) -> Self {
        Self { socket, whole_message: Mutex::new(()), patience, shutdown }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Ends the connection in both directions; every thread that waits on it notices.
    pub(crate) fn close(&self) {
        let _ = shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Sends one message, made of parts: in one `sendmsg` unless the socket's buffer is full. On an error, and when the
    /// peer does not read in time (`ETIMEDOUT`), part of the message may be gone, so that the connection is closed.
    pub(crate) fn send(&self, parts: [&[u8]; 3]) -> Result<(), Errno> {
        let _whole = self.whole_message.lock().unwrap_or_else(PoisonError::into_inner);
        self.send_all(parts).inspect_err(|_| self.close())
    }

    fn send_all(&self, parts: [&[u8]; 3]) -> Result<(), Errno> {
        let mut slices = parts.map(IoSlice::new);
        let mut rest = slices.as_mut_slice();
        let deadline = Instant::now().checked_add(self.patience);
        while !rest.is_empty() {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(self.socket(), rest, &mut SendAncillaryBuffer::default(), flags) {
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait_for_room(deadline)?,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self, deadline: Option<Instant>) -> Result<(), Errno> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(timespec);
        let mut fds = [PollFd::new(&self.socket, PollFlags::OUT), PollFd::new(&self.shutdown, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Err(Errno::TIMEDOUT),
            Ok(_) if !fds[1].revents().is_empty() => Err(Errno::CANCELED),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// A duration for `poll`. One that does not fit means for ever.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}
