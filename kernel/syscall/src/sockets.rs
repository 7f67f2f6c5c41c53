// SPDX-License-Identifier: MIT OR Apache-2.0
//! Socket calls on pairs of connected sockets. Their options have a file of their own.
//!
//! Files are passed (SCM_RIGHTS) unless they may hold files themselves: sockets and rings are refused, as nobody looks for cycles.

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use arrayvec::ArrayVec;
use linux_raw_sys::{general as abi, net};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::descriptors::give_two;
use crate::{
    errno::{Errno, Result},
    fs::OpenFile,
    net::socket_pair::{self, Kind, MOST_FILES, Options, Received, Sender, Socket, direction, may_be_sent},
    task::current,
    user::{self, IoVec},
};

const TYPE_MASK: u32 = 0xf;
/// One more than the largest type and address family that Linux knows.
const TYPES: u32 = 11;
const FAMILIES: u32 = 46;

/// Checks a type with its flags: SOCK_CLOEXEC and SOCK_NONBLOCK have the values of their O_ bits.
fn kind_and_flags(domain: u32, kind: u32) -> Result<(u32, u32)> {
    let (kind, flags) = (kind & TYPE_MASK, kind & !TYPE_MASK);
    if flags & !(abi::O_CLOEXEC | abi::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if domain >= FAMILIES {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind >= TYPES { Err(Errno::EINVAL) } else { Ok((kind, flags)) }
}

/// There are no sockets that could be bound or connected.
pub(super) fn socket(domain: u32, kind: u32, _protocol: u32) -> Result {
    kind_and_flags(domain, kind)?;
    Err(Errno::EAFNOSUPPORT)
}

pub(super) fn socketpair(domain: u32, kind: u32, protocol: u32, to: usize) -> Result {
    let (kind, flags) = kind_and_flags(domain, kind)?;
    let kind = match kind {
        _ if domain != net::AF_UNIX => return Err(Errno::EAFNOSUPPORT),
        _ if protocol != 0 && protocol != net::AF_UNIX => return Err(Errno::EPROTONOSUPPORT),
        net::SOCK_STREAM => Kind::Stream,
        net::SOCK_DGRAM | net::SOCK_RAW => Kind::Datagram,
        net::SOCK_SEQPACKET => Kind::Packets,
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    give_two(socket_pair::new_pair(kind, flags & abi::O_NONBLOCK)?, flags & abi::O_CLOEXEC != 0, to)
}

/// The socket behind a descriptor, and whether it must not wait.
pub(super) fn with<T>(fd: i32, with: impl FnOnce(&Socket, bool) -> Result<T>) -> Result<T> {
    let file = current().files.get(fd)?;
    if file.is_path_only() {
        return Err(Errno::EBADF);
    }
    let no_wait = file.flags() & abi::O_NONBLOCK != 0;
    with(file.file().downcast::<Socket>().ok_or(Errno::ENOTSOCK)?, no_wait)
}

/// Copies between a program's buffers and `bytes`, `place` bytes behind their start.
fn each_overlap(
    parts: &[IoVec],
    place: usize,
    length: usize,
    mut copy: impl FnMut(usize, core::ops::Range<usize>) -> Result<()>,
) -> Result<()> {
    let (mut skip, mut done) = (place, 0);
    for part in parts {
        let offset = skip.min(part.length);
        skip -= offset;
        let count = (part.length - offset).min(length - done);
        if count > 0 {
            copy(part.base.wrapping_add(offset), done..done + count)?;
            done += count;
        }
    }
    Ok(())
}

fn total(parts: &[IoVec]) -> usize {
    parts.iter().map(|part| part.length).sum()
}

fn send_parts(
    socket: &Socket,
    no_wait: bool,
    flags: u32,
    parts: &[IoVec],
    files: Vec<Arc<OpenFile>>,
) -> Result {
    if flags & net::MSG_OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let options = Options {
        no_wait: no_wait || flags & net::MSG_DONTWAIT != 0,
        signal: flags & net::MSG_NOSIGNAL == 0,
        ..Options::default()
    };
    socket.send(options, total(parts), files, |place, bytes| {
        let length = bytes.len();
        each_overlap(parts, place, length, |at, range| {
            Ok(user::copy_in(bytes.get_mut(range).unwrap_or_default(), at)?)
        })
    })
}

fn receive_parts(socket: &Socket, no_wait: bool, flags: u32, parts: &[IoVec]) -> Result<Received> {
    if flags & net::MSG_OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let options = Options {
        no_wait: no_wait || flags & net::MSG_DONTWAIT != 0,
        peek: flags & net::MSG_PEEK != 0,
        wait_all: flags & net::MSG_WAITALL != 0,
        signal: false,
    };
    socket.receive(options, total(parts), |place, bytes| {
        each_overlap(parts, place, bytes.len(), |at, range| {
            Ok(user::copy_out(at, bytes.get(range).unwrap_or_default())?)
        })
    })
}

/// What the call answers: with MSG_TRUNC the length of the message rather than of what was copied.
fn answered(socket: &Socket, flags: u32, received: &Received) -> usize {
    let whole = flags & net::MSG_TRUNC != 0 && socket.kind() != Kind::Stream;
    if whole { received.length } else { received.bytes }
}

/// readv on a socket: one message for all buffers.
pub(super) fn read_vector(socket: &Socket, no_wait: bool, parts: &[IoVec]) -> Result {
    receive_parts(socket, no_wait, 0, parts).map(|received| received.bytes)
}

/// writev on a socket.
pub(super) fn write_vector(socket: &Socket, no_wait: bool, parts: &[IoVec]) -> Result {
    send_parts(socket, no_wait, 0, parts, Vec::new())
}

pub(super) fn sendto(fd: i32, from: usize, length: usize, flags: u32, to: usize, _size: u32) -> Result {
    with(fd, |socket, no_wait| {
        check_destination(socket, to)?;
        let parts = [IoVec { base: from, length: length.min(user::MAX_IO) }];
        send_parts(socket, no_wait, flags, &parts, Vec::new())
    })
}

/// A pair is connected: no other destination can be named.
fn check_destination(socket: &Socket, to: usize) -> Result<()> {
    match socket.kind() {
        _ if to == 0 => Ok(()),
        Kind::Stream => Err(Errno::EISCONN),
        Kind::Datagram => Err(Errno::EOPNOTSUPP),
        // As on Linux, the name is not looked at.
        Kind::Packets => Ok(()),
    }
}

/// The sender has no name: an address that was asked for has length 0.
pub(super) fn recvfrom(fd: i32, to: usize, length: usize, flags: u32, name: usize, size: usize) -> Result {
    with(fd, |socket, no_wait| {
        let parts = [IoVec { base: to, length: length.min(user::MAX_IO) }];
        let received = receive_parts(socket, no_wait, flags, &parts)?;
        if name != 0 {
            user::write(size, &0u32)?;
        }
        Ok(answered(socket, flags, &received))
    })
}

/// `struct msghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MessageHeader {
    name: usize,
    name_length: u32,
    padding: u32,
    vector: usize,
    vector_count: usize,
    control: usize,
    control_length: usize,
    flags: u32,
    padding_at_the_end: u32,
}

/// `struct cmsghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct ControlHeader {
    length: usize,
    level: u32,
    kind: u32,
}

const HEADER: usize = size_of::<ControlHeader>();
/// Linux's limit of a message's ancillary data (net.core.optmem_max).
const MOST_CONTROL: usize = 131_072;

fn aligned(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// Reads the files that a message is to carry.
fn control(header: &MessageHeader) -> Result<Vec<Arc<OpenFile>>> {
    let mut files = Vec::new();
    if header.control == 0 || header.control_length == 0 {
        return Ok(files);
    }
    if header.control_length > MOST_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    let mut at = 0;
    while header.control_length.saturating_sub(at) >= HEADER {
        let address = header.control.wrapping_add(at);
        let part: ControlHeader = user::read(address)?;
        if part.length < HEADER || part.length > header.control_length - at {
            return Err(Errno::EINVAL);
        }
        let data = address.wrapping_add(HEADER);
        match (part.level, part.kind) {
            (net::SOL_SOCKET, net::SCM_RIGHTS) => {
                let count = (part.length - HEADER) / 4;
                if count + files.len() > MOST_FILES {
                    return Err(Errno::EINVAL);
                }
                files.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
                for index in 0..count {
                    let file = current().files.get(user::read(data.wrapping_add(index * 4))?)?;
                    files.push(if may_be_sent(&file) { Ok(file) } else { Err(Errno::ETOOMANYREFS) }?);
                }
            }
            // One's own ids, which the receiver is told anyway.
            (net::SOL_SOCKET, SCM_CREDENTIALS) if part.length == HEADER + 12 => {
                let said: Sender = user::read(data)?;
                if said != Sender::real() {
                    return Err(Errno::EPERM);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        at += aligned(part.length);
    }
    Ok(files)
}

const SCM_CREDENTIALS: u32 = 2;

pub(super) fn sendmsg(fd: i32, message: usize, flags: u32) -> Result {
    with(fd, |socket, no_wait| {
        let header: MessageHeader = user::read(message)?;
        if header.name != 0 && header.name_length != 0 {
            check_destination(socket, header.name)?;
        }
        let parts = user::read_vector(header.vector, message_parts(header.vector_count)?)?;
        send_parts(socket, no_wait, flags, &parts, control(&header)?)
    })
}

fn message_parts(count: usize) -> Result {
    if count > 1024 { Err(Errno::EMSGSIZE) } else { Ok(count) }
}

/// Writes a part of the ancillary data, as far as there is room for it; whether it was whole.
fn put_control(header: &MessageHeader, used: &mut usize, kind: u32, data: &[u8]) -> Result<bool> {
    let room = header.control_length.saturating_sub(*used);
    if room < HEADER {
        return Ok(false);
    }
    let count = data.len().min(room - HEADER);
    let at = header.control.wrapping_add(*used);
    user::write(at, &ControlHeader { length: HEADER + count, level: net::SOL_SOCKET, kind })?;
    user::copy_out(at.wrapping_add(HEADER), data.get(..count).unwrap_or_default())?;
    *used += aligned(HEADER + count).min(room);
    Ok(count == data.len())
}

/// Enters files that were received, as many as the program has room to be told of; whether that was all.
fn put_files(
    header: &MessageHeader,
    used: &mut usize,
    files: Vec<Arc<OpenFile>>,
    flags: u32,
) -> Result<bool> {
    let room = (header.control_length.saturating_sub(*used).saturating_sub(HEADER) / 4).min(MOST_FILES);
    let mut whole = files.len() <= room;
    // No allocation: the message is taken already, and a call that fails for memory would be done again.
    let mut numbers = ArrayVec::<i32, MOST_FILES>::new();
    let table = current().files.arc();
    for file in files.into_iter().take(room) {
        match table.add(file, flags & net::MSG_CMSG_CLOEXEC != 0, 0) {
            Ok(fd) => numbers.push(fd as i32),
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    if !numbers.is_empty() {
        put_control(header, used, net::SCM_RIGHTS, numbers.as_bytes())?;
    }
    Ok(whole)
}

pub(super) fn recvmsg(fd: i32, message: usize, flags: u32) -> Result {
    with(fd, |socket, no_wait| {
        let mut header: MessageHeader = user::read(message)?;
        let parts = user::read_vector(header.vector, message_parts(header.vector_count)?)?;
        let mut received = receive_parts(socket, no_wait, flags, &parts)?;
        let (mut used, mut whole) = (0, true);
        let sender = received.sender.filter(|_| socket.pass_credentials.load(Ordering::Relaxed));
        if let Some(sender) = sender {
            whole &= put_control(&header, &mut used, SCM_CREDENTIALS, sender.as_bytes())?;
        }
        let files = core::mem::take(&mut received.files);
        if !files.is_empty() {
            whole &= put_files(&header, &mut used, files, flags)?;
        }
        header.flags = flags & net::MSG_CMSG_CLOEXEC;
        if received.length > received.bytes && socket.kind() != Kind::Stream {
            header.flags |= net::MSG_TRUNC;
        }
        if !whole {
            header.flags |= net::MSG_CTRUNC;
        }
        (header.control_length, header.name_length) = (used, 0);
        user::write(message, &header)?;
        Ok(answered(socket, flags, &received))
    })
}

pub(super) fn shutdown(fd: i32, how: u32) -> Result {
    with(fd, |socket, _| {
        socket.shutdown(match how {
            net::SHUT_RD => direction::RECEIVE,
            net::SHUT_WR => direction::SEND,
            net::SHUT_RDWR => direction::RECEIVE | direction::SEND,
            _ => return Err(Errno::EINVAL),
        });
        Ok(0)
    })
}

/// Both sockets of a pair have the name without characters: the family alone.
pub(super) fn name(fd: i32, to: usize, size: usize) -> Result {
    with(fd, |_, _| {
        let room = usize::try_from(user::read::<i32>(size)?).map_err(|_| Errno::EINVAL)?;
        let family = (net::AF_UNIX as u16).to_ne_bytes();
        user::copy_out(to, family.get(..room.min(family.len())).unwrap_or_default())?;
        user::write(size, &(family.len() as u32)).map(|()| 0)
    })
}

/// bind and connect: no socket here can get another name or peer than it has.
pub(super) fn connect(fd: i32) -> Result {
    with(fd, |socket, _| {
        Err(if socket.kind() == Kind::Datagram { Errno::EOPNOTSUPP } else { Errno::EISCONN })
    })
}

/// See [`connect`].
pub(super) fn bind(fd: i32) -> Result {
    with(fd, |_, _| Err(Errno::EOPNOTSUPP))
}

/// listen and accept: for sockets that have no peer.
pub(super) fn listen(fd: i32) -> Result {
    with(fd, |socket, _| Err(if socket.kind() == Kind::Datagram { Errno::EOPNOTSUPP } else { Errno::EINVAL }))
}
