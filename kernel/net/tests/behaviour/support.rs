// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls for sockets.

use exo_test_support::{call, programs::*};
use linux_raw_sys::net;

pub(crate) use linux_raw_sys::net::{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};

/// Kinds that keep the boundaries of messages.
pub(crate) const MESSAGES: [u32; 2] = [SOCK_DGRAM, SOCK_SEQPACKET];
pub(crate) const ALL: [u32; 3] = [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET];

pub(crate) fn try_pair(domain: u32, kind: u32, protocol: u32) -> Result<[usize; 2]> {
    let at = reserve(8);
    call!(abi::__NR_socketpair, domain, kind, protocol, at)?;
    Ok(get::<[u32; 2]>(at).map(|fd| fd as usize))
}

/// Two sockets that are connected.
#[track_caller]
pub(crate) fn pair(kind: u32) -> [usize; 2] {
    try_pair(net::AF_UNIX, kind, 0).unwrap()
}

pub(crate) fn send(fd: usize, bytes: &[u8], flags: u32) -> Result {
    call!(abi::__NR_sendto, fd, put_bytes(bytes), bytes.len(), flags, 0, 0)
}

/// What is received, and what the call has said.
pub(crate) fn receive_with(fd: usize, count: usize, flags: u32) -> Result<(Vec<u8>, usize)> {
    let at = zeros(count);
    let said = call!(abi::__NR_recvfrom, fd, at, count, flags, 0, 0)?;
    Ok((get_bytes(at, said.min(count)), said))
}

pub(crate) fn receive(fd: usize, count: usize, flags: u32) -> Result<Vec<u8>> {
    receive_with(fd, count, flags).map(|(bytes, _)| bytes)
}

/// What is there at once.
pub(crate) fn now(fd: usize, count: usize) -> Result<Vec<u8>> {
    receive(fd, count, net::MSG_DONTWAIT)
}

pub(crate) fn shutdown(fd: usize, how: u32) -> Result {
    call!(abi::__NR_shutdown, fd, how)
}

/// A number among the options.
pub(crate) fn option(fd: usize, option: u32) -> Result<u32> {
    let (to, size) = (put(&0_u32), put(&4_u32));
    call!(abi::__NR_getsockopt, fd, net::SOL_SOCKET, option, to, size)?;
    assert_eq!(get::<u32>(size), 4);
    Ok(get(to))
}

pub(crate) fn set_option(fd: usize, option: u32, value: u32) -> Result {
    call!(abi::__NR_setsockopt, fd, net::SOL_SOCKET, option, put(&value), 4)
}

/// A limit of time for one direction, in milliseconds.
pub(crate) fn set_time_limit(fd: usize, option: u32, milliseconds: u64) -> Result {
    let time = put(&[milliseconds / 1000, milliseconds % 1000 * 1000]);
    call!(abi::__NR_setsockopt, fd, net::SOL_SOCKET, option, time, 16)
}

/// Takes all that is there.
pub(crate) fn drain(fd: usize) -> usize {
    let mut sum = 0;
    while let Ok(bytes) = now(fd, 64 << 10) {
        if bytes.is_empty() {
            break;
        }
        sum += bytes.len();
    }
    sum
}

/// Events that `poll` reports.
pub(crate) fn events(fd: usize) -> u32 {
    poll(fd, abi::POLLIN | abi::POLLOUT | abi::POLLRDHUP)
}

/// A datagram socket with an abstract name.
pub(crate) fn bound(name: &str) -> usize {
    let fd = call!(abi::__NR_socket, net::AF_UNIX, SOCK_DGRAM, 0).unwrap();
    let (at, size) = address(name);
    call!(abi::__NR_bind, fd, at, size).unwrap();
    fd
}

/// Connects a socket with one that has this abstract name.
pub(crate) fn connect(fd: usize, name: &str) -> Result {
    let (at, size) = address(name);
    call!(abi::__NR_connect, fd, at, size)
}

/// A datagram socket that is connected with such a one.
pub(crate) fn connected_to(name: &str) -> usize {
    let fd = call!(abi::__NR_socket, net::AF_UNIX, SOCK_DGRAM, 0).unwrap();
    connect(fd, name).unwrap();
    fd
}

fn address(name: &str) -> (usize, usize) {
    let bytes = [&(net::AF_UNIX as u16).to_le_bytes()[..], b"\0", name.as_bytes()].concat();
    (put_bytes(&bytes), bytes.len())
}
