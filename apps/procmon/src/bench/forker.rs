// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that forks while others watch. A process of its own each time, so that it is the same each time: how dear
//! a fork is depends on the memory of the one who forks, and that of who measures has a history.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use super::Failure;
use super::fork::fork_and_exit;
use crate::commands::Outcome;

/// On the command line of the forker.
pub(crate) const COMMAND: &str = "bench-forker";

/// How often it forks before it looks at the clock.
const AT_A_TIME: u64 = 8;

/// A forker that runs.
pub(super) struct Forker(Child);

/// What it has done.
pub(super) struct Done {
    pub(super) forks: u64,
    /// Nanoseconds that all of them took.
    pub(super) time: u64,
}

impl Forker {
    /// Starts one, to fork for this long on this processor; on any for `None`.
    pub(super) fn start(window: Duration, processor: Option<usize>) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND).arg(window.as_millis().to_string());
        command.args(processor.map(|number| number.to_string()));
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
    }

    /// Waits until it is done.
    pub(super) fn end(mut self) -> Result<Done, Failure> {
        let mut text = String::new();
        if let Some(output) = &mut self.0.stdout {
            output.read_to_string(&mut text)?;
        }
        self.0.wait()?;
        let (forks, time) = text.trim().split_once(' ').ok_or_else(|| format!("the forker says {text:?}"))?;
        Ok(Done { forks: forks.parse()?, time: time.parse()? })
    }
}

impl Done {
    /// Nanoseconds for the life of a process.
    pub(super) fn each(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts; a figure needs no more")]
        let each = self.time as f64 / self.forks.max(1) as f64;
        each
    }
}

/// The forker: for this long, on this processor or any; prints how often, and how many nanoseconds it took.
pub(crate) fn run(window: Duration, processor: Option<usize>) -> Outcome {
    if let Some(number) = processor.filter(|&number| number < CpuSet::MAX_CPU) {
        let mut only = CpuSet::new();
        only.set(number);
        // Children inherit it.
        sched_setaffinity(None, &only)?;
    }
    for _ in 0..AT_A_TIME {
        fork_and_exit()?;
    }
    let (start, mut forks) = (Instant::now(), 0_u64);
    let time = loop {
        for _ in 0..AT_A_TIME {
            fork_and_exit()?;
        }
        forks = forks.saturating_add(AT_A_TIME);
        let time = start.elapsed();
        if time >= window {
            break time;
        }
    };
    writeln!(std::io::stdout(), "{forks} {}", time.as_nanos())?;
    Ok(ExitCode::SUCCESS)
}
