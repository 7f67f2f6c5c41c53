// SPDX-License-Identifier: MIT OR Apache-2.0
//! `my-rng-device status` and `my-rng-device limit`: one question to a running program, and its answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::protocol::{Answer, DeviceLimits, LimitChange, LogLevel, Request, Status};

/// How long the program may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer: a status of hundreds of devices.
const MAX_ANSWER: u64 = 4 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nobody answers there.
    #[error("{}: {error}", socket.display())]
    Io {
        /// The control socket.
        socket: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// It is not the control socket of this program.
    #[error("{}: the answer makes no sense: {error}", socket.display())]
    Nonsense {
        /// The control socket.
        socket: PathBuf,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The program refused.
    #[error("{0}")]
    Refused(String),
    /// It answered something else.
    #[error("{}: the answer is to another question", .0.display())]
    Mismatch(PathBuf),
}

/// Asks for the status.
///
/// # Errors
/// [`ControlError`].
pub fn status(socket: &Path) -> Result<Status, ControlError> {
    match ask(socket, &Request::Status {})? {
        Answer::Status(status) => Ok(status),
        _ => Err(ControlError::Mismatch(socket.to_owned())),
    }
}

/// Changes limits. Gives the new ones.
///
/// # Errors
/// [`ControlError`].
pub fn limit(socket: &Path, change: LimitChange) -> Result<Vec<DeviceLimits>, ControlError> {
    match ask(socket, &Request::Limit(change))? {
        Answer::Limits(limits) => Ok(limits),
        _ => Err(ControlError::Mismatch(socket.to_owned())),
    }
}

/// Changes how much is logged.
///
/// # Errors
/// [`ControlError`].
pub fn log(socket: &Path, level: LogLevel) -> Result<LogLevel, ControlError> {
    match ask(socket, &Request::Log { level })? {
        Answer::Log(level) => Ok(level),
        _ => Err(ControlError::Mismatch(socket.to_owned())),
    }
}

/// Has every worker take a new key. Gives how often that was asked for.
///
/// # Errors
/// [`ControlError`].
pub fn new_generation(socket: &Path) -> Result<u64, ControlError> {
    match ask(socket, &Request::NewGeneration {})? {
        Answer::Generation(number) => Ok(number),
        _ => Err(ControlError::Mismatch(socket.to_owned())),
    }
}

fn ask(socket: &Path, request: &Request) -> Result<Answer, ControlError> {
    let failed = |error| ControlError::Io { socket: socket.to_owned(), error };
    let nonsense = |error| ControlError::Nonsense { socket: socket.to_owned(), error };
    let line = serde_json::to_string(request).map_err(nonsense)? + "\n";
    let answer = exchange(socket, &line).map_err(failed)?;
    match serde_json::from_str(&answer).map_err(nonsense)? {
        Answer::Error(reason) => Err(ControlError::Refused(reason)),
        answer => Ok(answer),
    }
}

fn exchange(socket: &Path, line: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer)?;
    if !answer.ends_with('\n') {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection was closed before the answer",
        ));
    }
    Ok(answer)
}
