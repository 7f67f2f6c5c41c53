// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors that a client can send along with its messages: what is expected, and what makes trouble.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::common::lingering;

/// What a client can send along.
pub(crate) struct Descriptors {
    memory: OwnedFd,
    small: OwnedFd,
    eventfd: OwnedFd,
    null: File,
    folder: File,
    socket: UnixStream,
    /// One that blocks, with a counter that is full.
    full: OwnedFd,
    /// Its end makes that of the next one quick.
    _listener: TcpListener,
    /// A socket that lingers when it is closed, with unsent data.
    lingering: TcpStream,
    /// Memory that nobody can write any more.
    sealed: OwnedFd,
    /// A file without a type that is no eventfd.
    epoll: OwnedFd,
    pipe: OwnedFd,
}

impl Descriptors {
    pub(crate) fn new() -> Self {
        let memfd = |size| {
            let fd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::fs::ftruncate(&fd, size).unwrap();
            fd
        };
        let full = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
        rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        let (lingering, listener) = lingering(Duration::from_secs(3600));
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let sealed = rustix::fs::memfd_create("sealed", flags).unwrap();
        rustix::fs::ftruncate(&sealed, 1 << 20).unwrap();
        rustix::fs::fcntl_add_seals(&sealed, rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::SHRINK)
            .unwrap();
        Self {
            full,
            lingering,
            _listener: listener,
            sealed,
            epoll: rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap(),
            pipe: rustix::pipe::pipe().unwrap().1,
            memory: memfd(1 << 20),
            small: memfd(100),
            eventfd: rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap(),
            null: File::open("/dev/null").unwrap(),
            folder: File::open("/").unwrap(),
            socket: UnixStream::pair().unwrap().0,
        }
    }

    pub(crate) fn get(&self, letter: char) -> BorrowedFd<'_> {
        match letter {
            'm' => self.memory.as_fd(),
            's' => self.small.as_fd(),
            'e' => self.eventfd.as_fd(),
            'n' => self.null.as_fd(),
            'f' => self.folder.as_fd(),
            'u' => self.socket.as_fd(),
            'b' => self.full.as_fd(),
            'l' => self.lingering.as_fd(),
            'w' => self.sealed.as_fd(),
            'p' => self.epoll.as_fd(),
            'i' => self.pipe.as_fd(),
            other => panic!("no descriptor {other:?}"),
        }
    }
}
