// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring through the `io-uring` crate, as programs use it. What `run` prints is what Linux does; `hostile` prints nothing
//! that depends on the kernel and must come to its end.

mod disk;
mod hostile;
mod polled;
mod queues;
mod requests;
mod waiting;

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

use io_uring::{IoUring, squeue};

use crate::Outcome;

pub(crate) use disk::{errors as disk_errors, run as disk};
pub(crate) use hostile::run as hostile;

pub(crate) fn run() -> Outcome {
    queues::run()?;
    requests::run()?;
    waiting::run()?;
    polled::run()
}

/// Submits entries and waits for `count` completions: user data and results, in their order.
fn submit(ring: &mut IoUring, entries: &[squeue::Entry], count: usize) -> io::Result<Vec<(u64, i32)>> {
    for entry in entries {
        push(ring, entry)?;
    }
    ring.submit_and_wait(count)?;
    Ok(reap(ring))
}

/// Puts an entry into the ring without submitting it.
fn push(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: all tests wait for the end of what they submit before its memory goes, or have the ring closed first.
    unsafe { ring.submission().push(entry) }.map_err(|_| io::Error::other("the submission ring is full"))
}

/// All completions that are there.
fn reap(ring: &mut IoUring) -> Vec<(u64, i32)> {
    ring.completion().map(|completion| (completion.user_data(), completion.result())).collect()
}

/// As `submit`, but the completions by user data, for requests that may end in any order.
fn submit_sorted(ring: &mut IoUring, entries: &[squeue::Entry], count: usize) -> io::Result<Vec<(u64, i32)>> {
    let mut found = submit(ring, entries, count)?;
    while found.len() < count {
        ring.submit_and_wait(1)?;
        found.extend(reap(ring));
    }
    found.sort_unstable();
    Ok(found)
}

/// The ends of a new pipe, to read from and to write to.
pub(crate) fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both descriptors are new and nobody else's.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}
