// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies between a virtio-serial port and a pipe.
//!
//! The command gets pipes and not the ports themselves, for two reasons: a port can be open once only, so a command that
//! opens `/dev/stderr` would get EBUSY; and only who copies can say how many bytes the host has to expect.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// What a port takes in one write (`port_fops_write()` in Linux's `virtio_console.c`).
const CHUNK: usize = 32 * 1024;

/// A copying thread needs its chunk and little else.
const STACK: usize = 128 * 1024;

/// How long a pipe may stay open and silent after everything that could write to it was killed. Only a process that the
/// kernel cannot kill reaches this.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running copy.
pub(crate) struct Relay {
    thread: JoinHandle<()>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    bytes: AtomicU64,
    /// Whether the thread waits for the receiving side, rather than for the sending one.
    writing: AtomicBool,
}

impl Relay {
    /// Starts to copy from `from` to `to`, until the one ends or the other breaks.
    pub(crate) fn start(name: &str, from: File, to: File) -> Result<Self, Failure> {
        Self::start_when(name, |_| (), from, to)
    }

    /// As [`Relay::start`], but the copying thread first waits until `ready` returns.
    pub(crate) fn start_when(name: &str, ready: fn(&File), from: File, to: File) -> Result<Self, Failure> {
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
            .spawn(move || {
                ready(&from);
                copy(from, to, &shared);
            })
            .map_err(|error| Failure::new(format!("cannot start the thread {name}: {error}")))?;
        Ok(Self { thread, progress })
    }

    /// Waits until the sending side has ended and all was written; returns the number of bytes.
    ///
    /// A host that takes its time is waited for without limit. A sending side that neither ends nor sends is given up.
    pub(crate) fn finish(self) -> u64 {
        let mut seen = self.bytes();
        let mut silent_since = Instant::now();
        while !self.thread.is_finished() {
            std::thread::sleep(Duration::from_millis(2));
            if self.bytes() != seen || self.progress.writing.load(Ordering::Relaxed) {
                seen = self.bytes();
                silent_since = Instant::now();
            } else if silent_since.elapsed() > PATIENCE {
                break;
            }
        }
        self.bytes()
    }

    fn bytes(&self) -> u64 {
        self.progress.bytes.load(Ordering::Relaxed)
    }
}

fn copy(mut from: File, mut to: File, progress: &Progress) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        progress.writing.store(true, Ordering::Relaxed);
        // A receiver that is gone ends the copy: the sender then learns it by EPIPE, as in any pipeline.
        if to.write_all(chunk.get(..length).unwrap_or_default()).is_err() {
            return;
        }
        progress.bytes.fetch_add(length as u64, Ordering::Relaxed);
        progress.writing.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (File, File) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (reader.into(), writer.into())
    }

    #[test]
    fn everything_is_copied_and_counted() {
        let (source, mut into) = pipe();
        let (mut out, sink) = pipe();
        let relay = Relay::start("test", source, sink).unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let copy = sent.clone();
        let writer = std::thread::spawn(move || into.write_all(&copy).unwrap());
        let mut received = Vec::new();
        out.read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == sent, "{} bytes came", received.len());
        assert_eq!(relay.finish(), 300_000);
    }

    #[test]
    fn a_sender_that_never_ends_is_given_up() {
        let (source, mut into) = pipe();
        let (_out, sink) = pipe();
        let relay = Relay::start("test", source, sink).unwrap();
        into.write_all(b"abc").unwrap();
        let start = Instant::now();
        assert_eq!(relay.finish(), 3);
        assert!(start.elapsed() < PATIENCE * 3);
        drop(into);
    }
}
