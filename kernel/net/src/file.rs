// SPDX-License-Identifier: MIT OR Apache-2.0
//! The open files of sockets.

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, sync::Arc, vec::Vec};

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
    sched::wait::WaitQueue,
    socket::{CopyIn, How, Outgoing, Socket},
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

impl SocketFile {
    fn receive(&self, io: Io, length: usize, copy: &mut crate::socket::CopyOut<'_>) -> Result {
        let how = How { no_wait: io.no_wait, ..How::default() };
        self.socket.receive(how, length, copy).map(|received| received.bytes)
    }

    fn send(&self, io: Io, length: usize, copy: &mut CopyIn<'_>) -> Result {
        let how = How { no_wait: io.no_wait, ..How::default() };
        self.socket.send(Outgoing { how, to: None, length, copy, files: Vec::new(), sender: None })
    }
}

impl File for SocketFile {
    fn read(&self, io: Io, to: usize, length: usize) -> Result {
        // As on Linux, nothing is asked of the socket, not even whether it is connected.
        if length == 0 {
            return Ok(0);
        }
        self.receive(io, length, &mut |place, bytes| Ok(user::copy_out(to.wrapping_add(place), bytes)?))
    }

    fn write(&self, io: Io, from: usize, length: usize) -> Result {
        self.send(io, length, &mut |place, bytes| Ok(user::copy_in(bytes, from.wrapping_add(place))?))
    }

    fn read_bytes(&self, io: Io, to: &mut [u8]) -> Result {
        self.receive(io, to.len(), &mut |place, bytes| {
            to.iter_mut().skip(place).zip(bytes).for_each(|(to, from)| *to = *from);
            Ok(())
        })
    }

    fn write_bytes(&self, io: Io, from: &[u8]) -> Result {
        self.send(io, from.len(), &mut |place, bytes| {
            bytes.iter_mut().zip(from.iter().skip(place)).for_each(|(to, from)| *to = *from);
            Ok(())
        })
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
            _ => return Err(Errno::ENOTTY),
        };
        user::write(argument, &i32::try_from(count).unwrap_or(i32::MAX)).map(|()| 0)
    }
}
