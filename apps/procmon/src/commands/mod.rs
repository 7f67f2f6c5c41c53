// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that print and end.

mod events;
mod processes;

use std::error::Error;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use procmon::Monitor;

pub(crate) use events::{describe, events};
pub(crate) use processes::{query, snapshot};

/// What a command ends with.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error + Send + Sync>>;

/// Where the module shows its counters and rates.
const STATS: &str = "/sys/class/procmon/procmon/stats";

/// `procmon stats`: the module's own text.
pub(crate) fn stats() -> Outcome {
    let text = std::fs::read_to_string(STATS)
        .map_err(|error| format!("{STATS}: {error} (is the module procmon loaded?)"))?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `procmon read`: the message as it is.
pub(crate) fn read() -> Outcome {
    let message = Monitor::open()?.message()?;
    io::stdout().write_all(&message)?;
    Ok(ExitCode::SUCCESS)
}

/// `procmon write`: the argument with a line break after it, or stdin as it is.
pub(crate) fn write(message: Option<&OsStr>) -> Outcome {
    let mut bytes = Vec::new();
    match message {
        Some(text) => {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(b'\n');
        }
        None => {
            io::stdin().read_to_end(&mut bytes)?;
        }
    }
    let kept = Monitor::open()?.set_message(&bytes)?;
    if kept < bytes.len() {
        return Err(
            format!("the message has {} bytes, the module keeps {kept} (buffer_size)", bytes.len()).into()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// `procmon filter`: whose events are recorded.
pub(crate) fn filter(pid: i32) -> Outcome {
    Monitor::open()?.set_filter(pid)?;
    Ok(ExitCode::SUCCESS)
}
