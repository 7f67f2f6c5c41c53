// SPDX-License-Identifier: MIT OR Apache-2.0
//! The socket on which clients find a device: taken over from a dead server, never from a living one, and removed in
//! the end.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::info;
use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, fcntl_getfl, fcntl_setfl, flock};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};
use thiserror::Error;

/// How often, and how long apart, to try for a directory's lock. Others hold it only while they bind.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Connections that wait to be accepted, as the standard library has it.
const BACKLOG: i32 = 128;

/// A listening UNIX socket with a path. Dropping it removes the path, if it is still this socket's.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    file: SocketFile,
}

/// The file of a [`Listener`], for who must remove it although the listener cannot be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode of the path, so that a successor's socket is never removed. `None`: it is somebody else's to remove.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, if it is still this listener's.
    pub fn remove(&self) {
        let found = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        if self.identity.is_some() && found.ok() == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why a socket could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// A server answers there.
    #[error("{}: another server is listening there", .0.display())]
    InUse(PathBuf),
    /// The path is there and is something else.
    #[error("{}: exists and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// Somebody else holds the lock of the directory.
    #[error("{}: the directory is locked by another process", .0.display())]
    Locked(PathBuf),
    /// A descriptor that is to be served is something else.
    #[error("expected a UNIX stream socket that listens at an absolute path: {0}")]
    NotAListener(&'static str),
    /// The operating system says no.
    #[error("{}: {error}", path.display())]
    Io {
        /// The socket, or its directory.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl Listener {
    /// Listens at `path`. A socket that nobody listens on, as a killed server leaves behind, is replaced. Two servers that
    /// do this at the same time do not take the path from each other: a lock on the directory puts them in order.
    ///
    /// Who can write to the socket, and so connect, is the business of the umask and the directory.
    ///
    /// # Errors
    /// [`BindError::InUse`] when a server is alive there.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        Self::bind_with(path, |path| UnixListener::bind(path))
    }

    /// As [`Self::bind`], and only this process's user can ever connect: the socket has the mode 0600 from the first
    /// moment on, whatever the umask.
    ///
    /// # Errors
    /// As for [`Self::bind`].
    pub fn bind_private(path: &Path) -> Result<Self, BindError> {
        Self::bind_with(path, |path| {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            // Linux gives the file the mode of the socket that it is made of.
            fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
            bind(&socket, &SocketAddrUnix::new(path)?)?;
            listen(&socket, BACKLOG)?;
            Ok(socket.into())
        })
    }

    fn bind_with(
        path: &Path,
        make: impl FnOnce(&Path) -> io::Result<UnixListener>,
    ) -> Result<Self, BindError> {
        let failed = |error: io::Error| BindError::Io { path: path.to_owned(), error };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _lock = lock_directory(parent)?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            Ok(_) if is_live(path).map_err(failed)? => return Err(BindError::InUse(path.to_owned())),
            Ok(_) => {
                info!("{}: replacing a socket that nobody listens on", path.display());
                fs::remove_file(path).map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let socket = make(path).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let made = fs::symlink_metadata(path).map_err(failed)?;
        Ok(Self {
            socket,
            file: SocketFile { path: path.to_owned(), identity: Some((made.dev(), made.ino())) },
        })
    }

    /// Listens on a socket that somebody else made and will remove, such as a service manager.
    ///
    /// # Errors
    /// `EINVAL`: it is no UNIX socket with a path.
    pub fn from_socket(socket: UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        Ok(Self { socket, file: SocketFile { path, identity: None } })
    }

    /// Listens on a socket that another process made for this one, with [`Self::into_socket`] for example, and that this one
    /// is to remove in the end. It makes no call that opens a file or a socket, so that a confined program can use it.
    ///
    /// # Errors
    /// [`BindError::NotAListener`]: it is no such socket, or its path is not there any more.
    pub fn adopt(socket: OwnedFd) -> Result<Self, BindError> {
        let is_not = BindError::NotAListener;
        match (socket_domain(&socket), socket_type(&socket)) {
            (Ok(AddressFamily::UNIX), Ok(SocketType::STREAM)) => {}
            (Err(Errno::NOTSOCK), _) => return Err(is_not("it is no socket")),
            _ => return Err(is_not("it is a socket of another kind")),
        }
        if socket_acceptconn(&socket) != Ok(true) {
            return Err(is_not("it does not listen"));
        }
        let socket = UnixListener::from(socket);
        let address = socket.local_addr().map_err(|_| is_not("it has no address"))?;
        let path = address.as_pathname().filter(|path| path.is_absolute());
        let path = path.ok_or(is_not("it has another address"))?.to_owned();
        let failed = |error: io::Error| BindError::Io { path: path.clone(), error };
        let found = fs::symlink_metadata(&path).map_err(failed)?;
        if !found.file_type().is_socket() {
            return Err(BindError::NotASocket(path));
        }
        let flags = fcntl_getfl(&socket).map_err(|errno| failed(errno.into()))?;
        fcntl_setfl(&socket, flags | OFlags::NONBLOCK).map_err(|errno| failed(errno.into()))?;
        Ok(Self { socket, file: SocketFile { path, identity: Some((found.dev(), found.ino())) } })
    }

    /// The socket, for another process, whose path stays.
    ///
    /// # Errors
    /// There is no descriptor to be had. The path is removed.
    pub fn into_socket(mut self) -> io::Result<OwnedFd> {
        let socket = self.socket.try_clone()?;
        self.file.identity = None;
        Ok(socket.into())
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its file.
    pub fn file(&self) -> SocketFile {
        self.file.clone()
    }

    /// Takes the next one who has connected, without waiting.
    ///
    /// # Errors
    /// `EAGAIN`: nobody has. `EMFILE` and the like: the process or the system is out of something.
    pub fn accept(&self) -> io::Result<UnixStream> {
        Ok(accept_with(&self.socket, SocketFlags::CLOEXEC)?.into())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(formatter)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.file.remove();
    }
}

/// Whether somebody listens on a socket, found out without waiting for him: his queue may be full.
fn is_live(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The lock is held until the file is dropped.
fn lock_directory(directory: &Path) -> Result<File, BindError> {
    let failed = |error: io::Error| BindError::Io { path: directory.to_owned(), error };
    let file = File::open(directory).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    Err(BindError::Locked(directory.to_owned()))
}
