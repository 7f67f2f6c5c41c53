// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes whole messages off the socket, however the peer cuts them up, without blocking and without trusting a size.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use thiserror::Error;

use crate::reaper::{MOST_FDS_OF_A_MESSAGE, PeerFd, Reaper};
use crate::wire::{HEADER_SIZE, Header};

/// Most descriptors that this server can be told to take in one message ([`crate::Limits::max_msg_fds`]).
pub(crate) const MAX_FDS: usize = 64;

/// A message that is larger than allowed, but not larger than this, is read and thrown away, so that its sender gets an
/// errno; a larger one is taken for a broken stream.
const MAX_DRAINED: u32 = 16 << 20;

/// Keep at most this much memory for the next payload.
const KEPT_CAPACITY: usize = 64 << 10;

/// What came of a look at the socket.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message is complete: [`Receiver::payload`] has the rest of it.
    Message { header: Header, fds: Vec<PeerFd> },
    /// A message was complete but cannot be acted on. The stream is in step.
    Unusable { header: Header, why: Unusable },
    /// Nothing more for now.
    Nothing,
    /// The peer left.
    Left,
}

/// Why a message cannot be acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Unusable {
    #[error("the message has {size} bytes, expected at most {max}")]
    TooLarge { size: u32, max: usize },
    #[error("the message carries more than {max} file descriptors, or more than this process can open")]
    TooManyFds { max: usize },
}

/// Why the stream can no longer be trusted.
#[derive(Debug, Error)]
pub(crate) enum StreamError {
    #[error("a message claims {0} bytes, expected from {HEADER_SIZE} to {MAX_DRAINED}")]
    Size(u32),
    #[error("the client left in the middle of a message")]
    Truncated,
    #[error("reading the socket failed: {0}")]
    Io(#[from] Errno),
}

/// A message in the making.
#[derive(Debug)]
pub(crate) struct Receiver {
    max_payload: usize,
    max_fds: usize,
    header: [u8; HEADER_SIZE],
    header_filled: usize,
    payload: Vec<u8>,
    payload_filled: usize,
    /// Payload bytes of a message that is too large, still to be thrown away.
    drain: usize,
    fds: Vec<PeerFd>,
    fds_lost: bool,
    /// Closes the descriptors.
    reaper: Reaper,
}

impl Receiver {
    /// Takes messages with at most `max_payload` bytes after the header and at most `max_fds` descriptors.
    pub(crate) fn new(max_payload: usize, max_fds: usize, reaper: Reaper) -> Self {
        Self {
            max_payload,
            max_fds: max_fds.min(MAX_FDS),
            header: [0; HEADER_SIZE],
            header_filled: 0,
            payload: Vec::new(),
            payload_filled: 0,
            drain: 0,
            fds: Vec::new(),
            fds_lost: false,
            reaper,
        }
    }

    /// The payload of the message that [`Self::receive`] returned last.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Reads until a message is complete or the socket has nothing more. Header and payload are read apart, because a
    /// read that spans two messages could not say to which of them the descriptors belong.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<Received, StreamError> {
        if self.header_filled == 0 {
            self.payload.clear();
            self.payload.shrink_to(KEPT_CAPACITY);
            self.payload_filled = 0;
        }
        while self.header_filled < HEADER_SIZE {
            let mut header = self.header;
            let rest = header.get_mut(self.header_filled..).unwrap_or_default();
            match self.read(socket, rest)? {
                Read::Bytes(count) => {
                    self.header = header;
                    self.header_filled = self.header_filled.saturating_add(count);
                    if self.header_filled == HEADER_SIZE {
                        self.begin_payload()?;
                    }
                }
                Read::WouldBlock => return Ok(Received::Nothing),
                Read::End if self.header_filled == 0 => return Ok(Received::Left),
                Read::End => return Err(StreamError::Truncated),
            }
        }
        while self.drain > 0 {
            let mut waste = [0; 4096];
            let room = waste.len().min(self.drain);
            match self.read(socket, waste.get_mut(..room).unwrap_or_default())? {
                Read::Bytes(count) => self.drain = self.drain.saturating_sub(count),
                Read::WouldBlock => return Ok(Received::Nothing),
                Read::End => return Err(StreamError::Truncated),
            }
        }
        while self.payload_filled < self.payload.len() {
            let mut payload = std::mem::take(&mut self.payload);
            let outcome = self.read(socket, payload.get_mut(self.payload_filled..).unwrap_or_default());
            self.payload = payload;
            match outcome? {
                Read::Bytes(count) => self.payload_filled = self.payload_filled.saturating_add(count),
                Read::WouldBlock => return Ok(Received::Nothing),
                Read::End => return Err(StreamError::Truncated),
            }
        }
        Ok(self.finish())
    }

    /// Makes room for the payload that the header announces, or decides to throw it away.
    fn begin_payload(&mut self) -> Result<(), StreamError> {
        let size = Header::decode(&self.header).size;
        if size > MAX_DRAINED {
            return Err(StreamError::Size(size));
        }
        let payload = usize::try_from(size).ok().and_then(|size| size.checked_sub(HEADER_SIZE));
        let payload = payload.ok_or(StreamError::Size(size))?;
        if payload > self.max_payload {
            self.drain = payload;
        } else {
            self.payload.resize(payload, 0);
        }
        Ok(())
    }

    fn finish(&mut self) -> Received {
        let header = Header::decode(&self.header);
        let fds = std::mem::take(&mut self.fds);
        let fds_lost = std::mem::take(&mut self.fds_lost);
        self.header_filled = 0;
        let max = self.max_payload.saturating_add(HEADER_SIZE);
        if usize::try_from(header.size).is_ok_and(|size| size > max) {
            Received::Unusable { header, why: Unusable::TooLarge { size: header.size, max } }
        } else if fds_lost || fds.len() > self.max_fds {
            Received::Unusable { header, why: Unusable::TooManyFds { max: self.max_fds } }
        } else {
            Received::Message { header, fds }
        }
    }

    /// One `recvmsg`. Descriptors are collected, close-on-exec, up to the first one too many; the rest are closed, by the
    /// reaper: there is room for all that can come, as the kernel would close the others on this thread.
    fn read(&mut self, socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<Read, StreamError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS_OF_A_MESSAGE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = loop {
            match recvmsg(socket, &mut [IoSliceMut::new(into)], &mut ancillary, flags) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Read::WouldBlock),
                // How a peer's abrupt end looks; to us it has left.
                Err(Errno::CONNRESET) => return Ok(Read::End),
                Err(errno) => return Err(errno.into()),
            }
        };
        // The kernel says so when there were more than fit, or more than this process may open.
        self.fds_lost |= received.flags.contains(ReturnFlags::CTRUNC);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                for fd in fds {
                    let fd = PeerFd::new(fd, &self.reaper);
                    if self.fds.len() <= self.max_fds {
                        self.fds.push(fd);
                    }
                }
            }
        }
        Ok(if received.bytes == 0 { Read::End } else { Read::Bytes(received.bytes) })
    }
}

enum Read {
    Bytes(usize),
    WouldBlock,
    End,
}
