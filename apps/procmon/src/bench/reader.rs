// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that reads events while others are measured. A process of its own: as a thread of the one that forks, it
//! would make each fork dearer, since memory that two processors use is dearer to copy.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use procmon::Events;
use procmon::abi::event::LOST;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Failure;
use crate::commands::Outcome;

/// On the command line of the reader.
pub(crate) const COMMAND: &str = "bench-reader";

/// How long it waits for an event before it looks whether it is done.
const PATIENCE: Duration = Duration::from_millis(20);

/// One look for many events: who looks at each as it comes takes the time from those who make them. With the module's
/// usual rings, 80000 events a second and CPU still fit.
const REST: Duration = Duration::from_millis(50);

/// The first thing that the reader says.
const READY: u8 = b'\n';

/// A reader that runs.
pub(super) struct Reader(Child);

/// What it has found.
pub(super) struct Found {
    pub(super) read: u64,
    pub(super) lost: u64,
}

impl Reader {
    /// Starts one, and returns when it reads.
    pub(super) fn start() -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = [0];
        if let Some(output) = &mut child.stdout {
            output
                .read_exact(&mut ready)
                .map_err(|error| format!("the reader of events has ended: {error}"))?;
        }
        Ok(Self(child))
    }

    /// Lets it read what there is, and asks what it has found.
    pub(super) fn end(mut self) -> Result<Found, Failure> {
        drop(self.0.stdin.take());
        let mut text = String::new();
        if let Some(output) = &mut self.0.stdout {
            output.read_to_string(&mut text)?;
        }
        self.0.wait()?;
        let (read, lost) = text.trim().split_once(' ').ok_or_else(|| format!("the reader says {text:?}"))?;
        Ok(Found { read: read.parse()?, lost: lost.parse()? })
    }
}

/// The reader: until its stdin is closed.
pub(crate) fn run() -> Outcome {
    let mut events = Events::open()?;
    let mut out = std::io::stdout();
    out.write_all(&[READY])?;
    out.flush()?;
    let (mut read, mut lost) = (0_u64, 0_u64);
    loop {
        // In this order: what was recorded before stdin was closed is read after that was seen.
        let is_done = stdin_is_closed()?;
        let mut found = false;
        for event in events.read()? {
            found = true;
            if event.kind == LOST { lost += event.detail } else { read += 1 }
        }
        if !found {
            if is_done {
                writeln!(out, "{read} {lost}")?;
                return Ok(ExitCode::SUCCESS);
            }
            events.wait(PATIENCE)?;
            thread::sleep(REST);
        }
    }
}

fn stdin_is_closed() -> Result<bool, rustix::io::Errno> {
    let stdin = std::io::stdin();
    let mut files = [PollFd::new(&stdin, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut files, Some(&at_once))? > 0)
}
