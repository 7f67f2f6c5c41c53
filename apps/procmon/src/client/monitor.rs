// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/procmon`: the message, the counters, queries, snapshots.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use procmon_abi::ioctl::{
    GET_COUNT, GET_STATS, QUERY_PID, Query, RESET, SET_FILTER, SNAPSHOT, Snapshot, Stats,
};
use procmon_abi::process::Record;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, Setter, Updater, ioctl};

use super::Error;

const PATH: &str = "/dev/procmon";

/// Longest message that the module can be set to keep, in bytes.
const LONGEST_MESSAGE: usize = 1 << 20;

/// More than the messages of most are long, in bytes.
const USUAL_MESSAGE: usize = 4096;

/// How many processes a snapshot has room for at first, and beyond what the kernel counted.
const SPARE: usize = 256;

/// An open `/dev/procmon`.
#[derive(Debug)]
pub struct Monitor {
    file: OwnedFd,
}

impl Monitor {
    /// Opens the node for reading and writing.
    ///
    /// # Errors
    /// As of `open(2)`; the message says what is likely to be missing.
    pub fn open() -> Result<Self, Error> {
        let file = rustix::fs::open(PATH, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::new(PATH, "open", errno))?;
        Ok(Self { file })
    }

    /// The message.
    ///
    /// # Errors
    /// As of `pread(2)`.
    pub fn message(&self) -> Result<Vec<u8>, Error> {
        let mut message = vec![0; USUAL_MESSAGE];
        loop {
            // In one call, so that it is one message, whole.
            let length = rustix::io::pread(&self.file, &mut message, 0).map_err(failed("read"))?;
            if length < message.len() || length >= LONGEST_MESSAGE {
                message.truncate(length);
                return Ok(message);
            }
            message.resize(LONGEST_MESSAGE, 0);
        }
    }

    /// Makes this the message. Returns how many bytes of it the module has kept.
    ///
    /// # Errors
    /// As of `write(2)`.
    pub fn set_message(&self, message: &[u8]) -> Result<usize, Error> {
        rustix::io::write(&self.file, message).map_err(failed("write"))
    }

    /// Length of the message in bytes.
    ///
    /// # Errors
    /// `ENOTTY` when this is another kind of node.
    pub fn message_length(&self) -> Result<i32, Error> {
        // SAFETY: GET_COUNT is `_IOR('P', 1, int)`: on success an int was written, of which all values are valid.
        unsafe { ioctl(&self.file, Getter::<GET_COUNT, i32>::new()) }.map_err(failed("GET_COUNT"))
    }

    /// Sets the counters to zero.
    ///
    /// # Errors
    /// As [`Monitor::message_length`].
    pub fn reset(&self) -> Result<(), Error> {
        // SAFETY: RESET is `_IO('P', 0)`: no memory is touched.
        unsafe { ioctl(&self.file, NoArg::<RESET>::new()) }.map_err(failed("RESET"))
    }

    /// The counters and the filter.
    ///
    /// # Errors
    /// As [`Monitor::message_length`].
    pub fn stats(&self) -> Result<Stats, Error> {
        // SAFETY: GET_STATS has the size of `Stats` in its number: on success all of it was written, and all values
        // are valid.
        unsafe { ioctl(&self.file, Getter::<GET_STATS, Stats>::new()) }.map_err(failed("GET_STATS"))
    }

    /// Records events of this process and its descendants only; of all for 0.
    ///
    /// # Errors
    /// `EINVAL` for what is no process number.
    pub fn set_filter(&self, pid: i32) -> Result<(), Error> {
        // SAFETY: SET_FILTER is `_IOW('P', 3, int)`: an int is read.
        unsafe { ioctl(&self.file, Setter::<SET_FILTER, i32>::new(pid)) }.map_err(failed("SET_FILTER"))
    }

    /// Looks a process or thread up. `None` if there is none of this number.
    ///
    /// # Errors
    /// As [`Monitor::message_length`].
    pub fn query(&self, pid: i32) -> Result<Option<Query>, Error> {
        let mut query = Query { pid, ..Query::default() };
        // SAFETY: QUERY_PID has the size of `Query` in its number: all of it is read, and on success written, and all
        // values are valid.
        unsafe { ioctl(&self.file, Updater::<QUERY_PID, Query>::new(&mut query)) }
            .map_err(failed("QUERY_PID"))?;
        Ok((query.state != -1).then_some(query))
    }

    /// All processes of this PID namespace, oldest first.
    ///
    /// # Errors
    /// As [`Monitor::message_length`].
    pub fn snapshot(&self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        self.snapshot_into(&mut records)?;
        Ok(records)
    }

    /// As [`Monitor::snapshot`], in memory that is used again.
    ///
    /// # Errors
    /// As [`Monitor::message_length`].
    pub fn snapshot_into(&self, records: &mut Vec<Record>) -> Result<(), Error> {
        records.clear();
        records.reserve(SPARE);
        loop {
            let capacity = u32::try_from(records.capacity()).unwrap_or(u32::MAX);
            let mut snapshot =
                Snapshot { records: records.as_mut_ptr().expose_provenance() as u64, capacity, count: 0 };
            // SAFETY: SNAPSHOT has the size of `Snapshot` in its number. Up to `capacity` records are written to memory
            // that is ours and holds none yet.
            let result = unsafe { ioctl(&self.file, Updater::<SNAPSHOT, Snapshot>::new(&mut snapshot)) };
            let count = usize::try_from(snapshot.count).unwrap_or(usize::MAX);
            match result {
                Ok(()) => {
                    // SAFETY: `count` records were written, no more than there is room for; all values are valid.
                    unsafe { records.set_len(count.min(records.capacity())) };
                    return Ok(());
                }
                // More have come: how many, it has told.
                Err(Errno::NOSPC) => records.reserve(count.saturating_add(SPARE)),
                Err(errno) => return Err(Error::new(PATH, "SNAPSHOT", errno)),
            }
        }
    }
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::new(PATH, operation, errno)
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
