// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading through io_uring.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, types};

use super::voluntary_switches;

/// What came of one read.
#[derive(Debug)]
pub(crate) struct UringRead {
    /// What the kernel returned, as `read(2)` would: an errno is negative.
    pub(crate) result: i32,
    /// How often the submitting thread went to sleep while it submitted.
    pub(crate) switches: i64,
    /// How long submitting took.
    pub(crate) submitting: Duration,
}

/// Reads into `to`: submits without waiting, then waits.
pub(crate) fn read_by_uring(file: impl AsFd, to: &mut [u8]) -> io::Result<UringRead> {
    let mut ring = IoUring::new(2)?;
    let length = u32::try_from(to.len()).map_err(io::Error::other)?;
    let entry = opcode::Read::new(types::Fd(file.as_fd().as_raw_fd()), to.as_mut_ptr(), length)
        .offset(u64::MAX)
        .build();
    // SAFETY: The file and the buffer stay until the completion has come, which is waited for below; should that fail, the
    // process ends with an error.
    unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;

    let (before, start) = (voluntary_switches()?, Instant::now());
    ring.submit()?;
    let (submitting, switches) = (start.elapsed(), voluntary_switches()? - before);

    ring.submit_and_wait(1)?;
    let completion = ring.completion().next().ok_or_else(|| io::Error::other("no completion"))?;
    Ok(UringRead { result: completion.result(), switches, submitting })
}
