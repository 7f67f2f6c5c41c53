// SPDX-License-Identifier: MIT OR Apache-2.0
//! The open files of sockets.

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, sync::Arc};

use exo_vfs::{
    OpenFile,
    events::Events,
    file::{File, Io},
    inode::{Inode, InodeContent, kind},
    permission,
    superblock::ANONYMOUS,
};
use linux_raw_sys::{general::O_RDWR, ioctl};

use crate::{
    errno::{Errno, Result},
    fallible,
    io_buf::{IoBuf, IoSource},
    requests,
    sched::wait::WaitQueue,
    socket::{How, Outgoing, Socket},
    user,
};

/// A socket's file.
pub struct SocketFile {
    socket: Box<dyn Socket>,
}

/// Opens a socket, with the `O_` bits `flags`.
///
/// # Errors
/// ENOMEM.
pub fn open(socket: Box<dyn Socket>, flags: u32) -> Result<Arc<OpenFile>> {
    let node = Inode::new(&ANONYMOUS, kind::SOCKET | 0o777, InodeContent::Socket);
    permission::set_first_owner(&node);
    socket.common().inode.store(node.number, Ordering::Relaxed);
    Ok(OpenFile::new(fallible::boxed(SocketFile { socket })?, node, O_RDWR | flags)?)
}

/// The socket behind an open file, if it is one's.
#[inline]
pub fn socket_of(file: &OpenFile) -> Option<&dyn Socket> {
    file.file().downcast::<SocketFile>().map(|file| &*file.socket)
}

impl File for SocketFile {
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        // As on Linux, nothing is asked of the socket, not even whether it is connected.
        if to.is_empty() {
            return Ok(0);
        }
        let how = How { no_wait: io.no_wait, ..How::default() };
        self.socket.receive(how, to).map(|received| received.bytes)
    }

    fn write(&self, io: Io, from: &mut IoSource<'_>) -> Result {
        let how = How { no_wait: io.no_wait, ..How::default() };
        self.socket.send(Outgoing { how, ..Outgoing::default() }, from)
    }

    fn events(&self) -> Events {
        self.socket.events()
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(self.socket.queue())
    }

    fn kernel_memory(&self) -> usize {
        self.socket.kernel_memory()
    }

    fn holds_files(&self) -> bool {
        self.socket.holder().is_some()
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        let count = match request {
            ioctl::FIONREAD => self.socket.readable()?,
            ioctl::TIOCOUTQ => self.socket.unread()?,
            _ => return requests::answer(request, argument).unwrap_or(Err(Errno::ENOTTY)),
        };
        user::write(argument, &i32::try_from(count).unwrap_or(i32::MAX)).map(|()| 0)
    }
}
