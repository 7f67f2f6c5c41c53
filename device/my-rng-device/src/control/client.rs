// SPDX-License-Identifier: MIT OR Apache-2.0
//! `my-rng-device status`, `limit`, `add` and the like: one question to a running program, and its answer.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use thiserror::Error;
use vfio_user_server::{BindError, Listener};

use super::protocol::{Answer, DeviceLimits, LimitChange, LogLevel, Place, Request, Status, Which};

/// How long the program may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of a device may take: its machine may have a minute to let go of it (`--release`).
const LONG_PATIENCE: Duration = Duration::from_secs(70);
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
    /// The socket of a device that is to be added cannot be made.
    #[error(transparent)]
    Bind(#[from] BindError),
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

/// Makes a socket at `path` and has the program serve a device on it.
///
/// # Errors
/// [`ControlError`]. The socket is removed.
pub fn add(socket: &Path, path: &Path) -> Result<Place, ControlError> {
    let failed = |error| ControlError::Io { socket: path.to_owned(), error };
    // The program may have another working directory.
    let path = std::path::absolute(path).map_err(failed)?;
    let listener = Listener::bind(&path)?;
    match ask_with(socket, &Request::Add {}, Some(listener.as_fd()), PATIENCE)? {
        Answer::Added(place) => listener.into_socket().map(|_| place).map_err(failed),
        _ => Err(ControlError::Mismatch(socket.to_owned())),
    }
}

/// Has the program end a device, and removes its socket if the program may not.
///
/// # Errors
/// [`ControlError`].
pub fn remove(socket: &Path, which: Which) -> Result<Place, ControlError> {
    match ask_with(socket, &Request::Remove(which), None, LONG_PATIENCE)? {
        Answer::Removed(place) => {
            if place.socket.exists() {
                // Which replaces what nobody listens on, and removes that; somebody else's socket it leaves alone.
                let _ = Listener::bind(&place.socket);
            }
            Ok(place)
        }
        _ => Err(ControlError::Mismatch(socket.to_owned())),
    }
}

fn ask(socket: &Path, request: &Request) -> Result<Answer, ControlError> {
    ask_with(socket, request, None, PATIENCE)
}

/// Asks, with a descriptor, and waits for so long.
fn ask_with(
    socket: &Path,
    request: &Request,
    descriptor: Option<BorrowedFd<'_>>,
    patience: Duration,
) -> Result<Answer, ControlError> {
    let failed = |error| ControlError::Io { socket: socket.to_owned(), error };
    let nonsense = |error| ControlError::Nonsense { socket: socket.to_owned(), error };
    let line = serde_json::to_string(request).map_err(nonsense)? + "\n";
    let answer = exchange(socket, &line, descriptor, patience).map_err(failed)?;
    match serde_json::from_str(&answer).map_err(nonsense)? {
        Answer::Error(reason) => Err(ControlError::Refused(reason)),
        answer => Ok(answer),
    }
}

fn exchange(
    socket: &Path,
    line: &str,
    descriptor: Option<BorrowedFd<'_>>,
    patience: Duration,
) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let sent = send_with(&stream, line.as_bytes(), descriptor)?;
    stream.write_all(line.as_bytes().get(sent..).unwrap_or_default())?;
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

/// Sends the beginning of `bytes`, and a descriptor with it. Gives how much that was.
fn send_with(stream: &UnixStream, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if let Some(descriptor) = &descriptor {
        ancillary.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}
