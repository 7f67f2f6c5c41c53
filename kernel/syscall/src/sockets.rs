// SPDX-License-Identifier: MIT OR Apache-2.0
//! Socket calls, but for those that move data ([`messages`](super::messages)) and options. What a program hands over is copied and checked
//! here, and what it means is the family's.

use alloc::boxed::Box;

use linux_raw_sys::{general as abi, net};

use super::descriptors::give_two;
use crate::{
    errno::{Errno, Result},
    fs::OpenFile,
    net::{
        address::{Address, LONGEST},
        family, file,
        socket::{Socket, direction},
    },
    task::current,
    user,
};

const TYPE_MASK: u32 = 0xf;
/// One more than the largest type and address family that Linux knows.
const TYPES: u32 = 11;
const FAMILIES: u32 = 46;
/// Most connections that wait to be accepted (net.core.somaxconn).
const MOST_BACKLOG: u32 = 4096;

/// Checks flags: SOCK_CLOEXEC and SOCK_NONBLOCK have the values of their O_ bits.
fn check_flags(flags: u32) -> Result<()> {
    if flags & !(abi::O_CLOEXEC | abi::O_NONBLOCK) != 0 { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Checks a type with its flags.
fn kind_and_flags(domain: u32, kind: u32) -> Result<(u32, u32)> {
    let (kind, flags) = (kind & TYPE_MASK, kind & !TYPE_MASK);
    check_flags(flags)?;
    if domain >= FAMILIES {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind >= TYPES { Err(Errno::EINVAL) } else { Ok((kind, flags)) }
}

/// Gives the program a descriptor of a socket.
fn give(socket: Box<dyn Socket>, flags: u32) -> Result {
    let file = file::open(socket, flags & abi::O_NONBLOCK)?;
    current().files.add(file, flags & abi::O_CLOEXEC != 0, 0)
}

pub(super) fn socket(domain: u32, kind: u32, protocol: u32) -> Result {
    let (kind, flags) = kind_and_flags(domain, kind)?;
    give(family::create(domain, kind, protocol)?, flags)
}

pub(super) fn socketpair(domain: u32, kind: u32, protocol: u32, to: usize) -> Result {
    let (kind, flags) = kind_and_flags(domain, kind)?;
    let [first, second] = family::create_pair(domain, kind, protocol)?;
    let open = |socket| file::open(socket, flags & abi::O_NONBLOCK);
    give_two([open(first)?, open(second)?], flags & abi::O_CLOEXEC != 0, to)
}

/// The socket behind an open file.
pub(super) fn socket_of(file: &OpenFile) -> Result<&dyn Socket> {
    if file.is_path_only() {
        return Err(Errno::EBADF);
    }
    file::socket_of(file).ok_or(Errno::ENOTSOCK)
}

/// Whether calls on it must not wait.
pub(super) fn is_non_blocking(file: &OpenFile) -> bool {
    file.flags() & abi::O_NONBLOCK != 0
}

/// The socket behind a descriptor.
pub(super) fn with<T>(fd: i32, with: impl FnOnce(&dyn Socket) -> Result<T>) -> Result<T> {
    let file = current().files.get(fd)?;
    with(socket_of(&file)?)
}

/// Reads an address of `size` bytes.
pub(super) fn read_address(at: usize, size: u32) -> Result<Address> {
    let mut bytes = [0; LONGEST];
    let bytes = bytes.get_mut(..size as usize).ok_or(Errno::EINVAL)?;
    user::copy_in(bytes, at)?;
    Address::new(bytes)
}

/// Writes as much of an address as there is room for at `to`, and its size at `size`, where the room was said.
pub(super) fn write_address(address: &Address, to: usize, size: usize) -> Result<()> {
    let room = usize::try_from(user::read::<i32>(size)?).map_err(|_| Errno::EINVAL)?;
    let bytes = address.bytes();
    user::copy_out(to, bytes.get(..room.min(bytes.len())).unwrap_or_default())?;
    user::write(size, &(bytes.len() as u32))
}

pub(super) fn bind(fd: i32, address: usize, size: u32) -> Result {
    let file = current().files.get(fd)?;
    let socket = socket_of(&file)?;
    let address = read_address(address, size)?;
    // As on Linux, fchmod before bind says who may connect.
    socket.bind(&address, file.node().metadata().mode).map(|()| 0)
}

pub(super) fn listen(fd: i32, backlog: u32) -> Result {
    with(fd, |socket| socket.listen(backlog.min(MOST_BACKLOG) as usize).map(|()| 0))
}

pub(super) fn accept(fd: i32, name: usize, size: usize) -> Result {
    accept4(fd, name, size, 0)
}

pub(super) fn accept4(fd: i32, name: usize, size: usize, flags: u32) -> Result {
    check_flags(flags)?;
    let file = current().files.get(fd)?;
    let listener = socket_of(&file)?;
    // Who has no descriptor left takes no connection.
    current().files.check_room()?;
    let connection = listener.accept(is_non_blocking(&file))?;
    if name != 0 {
        write_address(&connection.caller_name()?, name, size)?;
    }
    give(connection, flags)
}

pub(super) fn connect(fd: i32, address: usize, size: u32) -> Result {
    let file = current().files.get(fd)?;
    let socket = socket_of(&file)?;
    let address = read_address(address, size)?;
    socket.connect(&address, is_non_blocking(&file)).map(|()| 0)
}

pub(super) fn shutdown(fd: i32, how: u32) -> Result {
    with(fd, |socket| {
        let directions = match how {
            net::SHUT_RD => direction::RECEIVE,
            net::SHUT_WR => direction::SEND,
            net::SHUT_RDWR => direction::BOTH,
            _ => return Err(Errno::EINVAL),
        };
        socket.shutdown(directions).map(|()| 0)
    })
}

pub(super) fn getsockname(fd: i32, to: usize, size: usize) -> Result {
    with(fd, |socket| write_address(&socket.name()?, to, size).map(|()| 0))
}

pub(super) fn getpeername(fd: i32, to: usize, size: usize) -> Result {
    with(fd, |socket| write_address(&socket.peer_name()?, to, size).map(|()| 0))
}
