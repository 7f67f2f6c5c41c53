// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few socket calls that a pair of connected sockets needs.

use linux_raw_sys::general as abi;

use super::descriptors::give_two;
use crate::{
    errno::{Errno, Result},
    fs::socket_pair::{self, Kind, Socket},
    task::current,
    user,
};

/// Constants of Linux's `linux/socket.h` and `linux/net.h`.
mod value {
    pub(super) const AF_UNIX: u32 = 1;
    pub(super) const SOCK_STREAM: u32 = 1;
    pub(super) const SOCK_DGRAM: u32 = 2;
    pub(super) const SOCK_SEQPACKET: u32 = 5;
    pub(super) const TYPE_MASK: u32 = 0xf;
    pub(super) const MSG_DONTWAIT: u32 = 0x40;
    pub(super) const MSG_NOSIGNAL: u32 = 0x4000;
}

/// There are no sockets that could be bound or connected.
pub(super) fn socket() -> Result {
    Err(Errno::EAFNOSUPPORT)
}

pub(super) fn socketpair(domain: u32, kind: u32, protocol: u32, to: usize) -> Result {
    // SOCK_CLOEXEC and SOCK_NONBLOCK have the values of their O_ bits.
    let (kind, flags) = (kind & value::TYPE_MASK, kind & !value::TYPE_MASK);
    if flags & !(abi::O_CLOEXEC | abi::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let kind = match kind {
        _ if domain != value::AF_UNIX => return Err(Errno::EAFNOSUPPORT),
        // 1 is AF_UNIX's own number as a protocol.
        _ if protocol > 1 => return Err(Errno::EOPNOTSUPP),
        value::SOCK_STREAM => Kind::Stream,
        value::SOCK_DGRAM | value::SOCK_SEQPACKET => Kind::Messages,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    give_two(socket_pair::new_pair(kind, flags & abi::O_NONBLOCK), flags & abi::O_CLOEXEC != 0, to)
}

fn with(fd: i32, with: impl FnOnce(&Socket, bool) -> Result) -> Result {
    let file = current().files.get(fd)?;
    let no_wait = file.flags() & abi::O_NONBLOCK != 0;
    with(file.file().socket().ok_or(Errno::ENOTSOCK)?, no_wait)
}

pub(super) fn sendto(fd: i32, from: usize, length: usize, flags: u32, to: usize, _size: usize) -> Result {
    with(fd, |socket, no_wait| {
        if flags & !(value::MSG_DONTWAIT | value::MSG_NOSIGNAL) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if to != 0 {
            return Err(Errno::EISCONN);
        }
        let no_wait = no_wait || flags & value::MSG_DONTWAIT != 0;
        socket.send(no_wait, flags & value::MSG_NOSIGNAL == 0, from, length.min(user::MAX_IO))
    })
}

/// The sender has no name: an address that was asked for has length 0.
pub(super) fn recvfrom(fd: i32, to: usize, length: usize, flags: u32, name: usize, size: usize) -> Result {
    with(fd, |socket, no_wait| {
        if flags & !value::MSG_DONTWAIT != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let no_wait = no_wait || flags & value::MSG_DONTWAIT != 0;
        let count = socket.receive(no_wait, to, length.min(user::MAX_IO))?;
        if name != 0 {
            user::write(size, &0u32)?;
        }
        Ok(count)
    })
}
