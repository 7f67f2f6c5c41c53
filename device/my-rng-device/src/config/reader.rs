// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process of its own that reads the configuration file whenever it is asked, because the sandbox of the one that serves
//! devices opens no file. It has a sandbox too, which leaves it the reading of files in that one directory.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::sandbox::{self, Mode, SandboxError};

/// The subcommand that this program is started with.
const SUBCOMMAND: &str = "read-config";
/// Most bytes of the file.
const MAX_SIZE: usize = 64 << 10;
/// How long the file may take: it may lie on a file system that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process that reads, for the one that asks. It ends with this.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    socket: UnixStream,
}

impl Reader {
    /// Starts it for that file.
    ///
    /// # Errors
    /// There is no process to be had.
    pub fn start(path: &Path, sandbox: Mode) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let (socket, other) = UnixStream::pair()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Command::new(std::env::current_exe()?)
            .args([SUBCOMMAND, "--sandbox", sandbox.name()])
            .arg(&path)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(other)))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { path, socket })
    }

    /// The file's name, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file anew.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is no text.
    pub fn read(&mut self) -> io::Result<String> {
        let (is_good, text) = self.ask().inspect_err(|_| {
            // What comes later would be taken for the answer to the next question.
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        })?;
        let text = String::from_utf8(text).map_err(|_| io::Error::other("it is not UTF-8"))?;
        if is_good { Ok(text) } else { Err(io::Error::other(text)) }
    }

    fn ask(&mut self) -> io::Result<(bool, Vec<u8>)> {
        self.socket.write_all(b"?")?;
        let mut head = [0; 5];
        self.socket.read_exact(&mut head)?;
        let [is_good, length @ ..] = head;
        let length = usize::try_from(u32::from_ne_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_SIZE {
            return Err(io::Error::other("the process that reads it makes no sense"));
        }
        let mut text = vec![0; length];
        self.socket.read_exact(&mut text)?;
        Ok((is_good == 1, text))
    }
}

/// What the process does: reads the file for who asks on standard input, until that is closed.
///
/// # Errors
/// The sandbox is not as it was asked for, or nobody can be answered.
pub fn serve(path: &Path, mode: Mode) -> Result<(), ServeError> {
    // They are meant for the other process, and this one ends with it.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    let mut socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdin()).map_err(io::Error::from)?);
    sandbox::confine_reader(mode, path)?;
    let mut request = [0; 1];
    loop {
        match socket.read(&mut request) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        let (is_good, text) = match read(path) {
            Ok(text) => (1_u8, text),
            Err(error) => (0, error.to_string().into_bytes()),
        };
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        socket.write_all(&[&[is_good][..], &length.to_ne_bytes(), &text].concat())?;
    }
}

/// Why the process that reads ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The other process cannot be heard.
    #[error("reading the configuration: {0}")]
    Io(#[from] io::Error),
    /// The sandbox is not as it was asked for.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO must not make it wait.
    let flags = OFlags::NONBLOCK.bits();
    let file =
        OpenOptions::new().read(true).custom_flags(i32::try_from(flags).unwrap_or_default()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_SIZE as u64 + 1).read_to_end(&mut text)?;
    if text.len() > MAX_SIZE {
        return Err(io::Error::other(format!("it has more than {MAX_SIZE} bytes")));
    }
    Ok(text)
}
