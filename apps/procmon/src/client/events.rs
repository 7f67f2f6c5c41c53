// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/procmon_events`: events by `read(2)`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use procmon_abi::event::{EVENT_SIZE, Event};
use procmon_abi::ioctl::{EVENTS_LOST, EVENTS_SKIP};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, ioctl};

use super::{Error, Rings};

pub(super) const PATH: &str = "/dev/procmon_events";

/// How many events are read at a time.
const BATCH: usize = 256;

/// An open `/dev/procmon_events`: what happens from the time of opening on.
#[derive(Debug)]
pub struct Events {
    file: OwnedFd,
    buffer: Vec<u8>,
}

impl Events {
    /// Opens the node.
    ///
    /// # Errors
    /// As of `open(2)`; the message says what is likely to be missing.
    pub fn open() -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(PATH, flags, Mode::empty()).map_err(|errno| Error::new(PATH, "open", errno))?;
        Ok(Self { file, buffer: vec![0; BATCH * EVENT_SIZE] })
    }

    /// Waits until there is an event, at most so long. Tells whether there is one.
    ///
    /// # Errors
    /// As of `poll(2)`.
    pub fn wait(&self, longest: Duration) -> Result<bool, Error> {
        let longest = Timespec::try_from(longest).ok();
        let mut files = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut files, longest.as_ref()) {
            Ok(_) => Ok(files.iter().any(|file| file.revents().contains(PollFlags::IN))),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(Error::new(PATH, "poll", errno)),
        }
    }

    /// The events that there are now, in order; at most a few hundred. Where some were lost there is one of the kind
    /// [`procmon_abi::event::LOST`].
    ///
    /// # Errors
    /// As of `read(2)`.
    pub fn read(&mut self) -> Result<impl Iterator<Item = Event> + '_, Error> {
        let length = match rustix::io::read(&self.file, &mut *self.buffer) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(errno) => return Err(Error::new(PATH, "read", errno)),
        };
        let read = self.buffer.get(..length).unwrap_or_default();
        Ok(read.chunks_exact(EVENT_SIZE).filter_map(|bytes| Some(Event::from_bytes(bytes.try_into().ok()?))))
    }

    /// Forgets the events that were not read yet.
    ///
    /// # Errors
    /// `ENOTTY` when this is another kind of node.
    pub fn skip(&self) -> Result<(), Error> {
        // SAFETY: EVENTS_SKIP is `_IO('P', 16)`: no memory is touched.
        unsafe { ioctl(&self.file, NoArg::<EVENTS_SKIP>::new()) }
            .map_err(|errno| Error::new(PATH, "EVENTS_SKIP", errno))
    }

    /// How many events were lost so far, because they were not read in time.
    ///
    /// # Errors
    /// As [`Events::skip`].
    pub fn lost(&self) -> Result<u64, Error> {
        // SAFETY: EVENTS_LOST is `_IOR('P', 17, __u64)`: on success a u64 was written, of which all values are valid.
        unsafe { ioctl(&self.file, Getter::<EVENTS_LOST, u64>::new()) }
            .map_err(|errno| Error::new(PATH, "EVENTS_LOST", errno))
    }

    /// Maps the rings, to read them without system calls.
    ///
    /// # Errors
    /// As of `mmap(2)`: `EPERM` without `CAP_SYS_PTRACE`.
    pub fn map(&self) -> Result<Rings, Error> {
        Rings::map(&self.file)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
