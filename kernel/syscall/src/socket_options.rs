// SPDX-License-Identifier: MIT OR Apache-2.0
//! getsockopt and setsockopt. Refused is what would have to mean something here and does not.

use core::sync::atomic::Ordering;

use linux_raw_sys::net;
use zerocopy::IntoBytes;

use super::sockets::with;
use crate::{
    errno::{Errno, Result},
    net::socket_pair::{Kind, Socket},
    user::{self, TimeVal},
};

const SO_DOMAIN: u32 = 39;
const SO_PROTOCOL: u32 = 38;
/// As above; a 64-bit program's times are the same.
const SO_RCVTIMEO_NEW: u32 = 66;
const SO_SNDTIMEO_NEW: u32 = 67;

/// Smallest and largest buffers, as on Linux; half of it is what a program asks for.
const LEAST_SEND: u32 = 4608;
const LEAST_RECEIVE: u32 = 2304;
const MOST: u32 = 425_984;

/// Flags that mean nothing to a Unix socket on Linux either.
const KEPT: [u32; 3] = [net::SO_REUSEADDR, net::SO_BROADCAST, net::SO_KEEPALIVE];

fn put(bytes: &[u8], to: usize, size: usize) -> Result {
    let room = usize::try_from(user::read::<i32>(size)?).map_err(|_| Errno::EINVAL)?;
    let count = room.min(bytes.len());
    user::copy_out(to, bytes.get(..count).unwrap_or_default())?;
    user::write(size, &(count as u32)).map(|()| 0)
}

fn number_of(socket: &Socket, option: u32) -> Result<u32> {
    Ok(match option {
        net::SO_TYPE => match socket.kind() {
            Kind::Stream => net::SOCK_STREAM,
            Kind::Datagram => net::SOCK_DGRAM,
            Kind::Packets => net::SOCK_SEQPACKET,
        },
        net::SO_ERROR => socket.take_error().map_or(0, |error| error.0 as u32),
        SO_DOMAIN => net::AF_UNIX,
        SO_PROTOCOL => 0,
        net::SO_SNDBUF => socket.send_buffer.load(Ordering::Relaxed),
        net::SO_RCVBUF => socket.receive_buffer.load(Ordering::Relaxed),
        net::SO_PASSCRED => u32::from(socket.pass_credentials.load(Ordering::Relaxed)),
        net::SO_ACCEPTCONN => 0,
        net::SO_RCVLOWAT | net::SO_SNDLOWAT => 1,
        option if KEPT.contains(&option) => (socket.kept.load(Ordering::Relaxed) >> option) as u32 & 1,
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

pub(super) fn get(fd: i32, level: u32, option: u32, to: usize, size: usize) -> Result {
    with(fd, |socket, _| {
        if level != net::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let timeout = match option {
            net::SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW => &socket.receive_timeout,
            net::SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW => &socket.send_timeout,
            net::SO_PEERCRED => return put(socket.maker().as_bytes(), to, size),
            _ => return put(&number_of(socket, option)?.to_ne_bytes(), to, size),
        };
        put(TimeVal::from_ns(timeout.load(Ordering::Relaxed)).as_bytes(), to, size)
    })
}

/// A time limit in nanoseconds; a negative one is none at all but the shortest.
fn time_limit(at: usize, size: u32) -> Result<u64> {
    if (size as usize) < size_of::<TimeVal>() {
        return Err(Errno::EINVAL);
    }
    let time: TimeVal = user::read(at)?;
    if !(0..1_000_000).contains(&time.microseconds) {
        return Err(Errno::EDOM);
    }
    if time.seconds < 0 { Ok(1) } else { time.to_ns() }
}

pub(super) fn set(fd: i32, level: u32, option: u32, at: usize, size: u32) -> Result {
    with(fd, |socket, _| {
        if level != net::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let timeout = match option {
            net::SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW => Some(&socket.receive_timeout),
            net::SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW => Some(&socket.send_timeout),
            _ => None,
        };
        if let Some(timeout) = timeout {
            timeout.store(time_limit(at, size)?, Ordering::Relaxed);
            return Ok(0);
        }
        if size < 4 {
            return Err(Errno::EINVAL);
        }
        let value: u32 = user::read(at)?;
        let twice = (value.min(MOST / 2)) * 2;
        match option {
            net::SO_SNDBUF => socket.send_buffer.store(twice.max(LEAST_SEND), Ordering::Relaxed),
            net::SO_RCVBUF => socket.receive_buffer.store(twice.max(LEAST_RECEIVE), Ordering::Relaxed),
            net::SO_PASSCRED => socket.pass_credentials.store(value != 0, Ordering::Relaxed),
            option if KEPT.contains(&option) => {
                let bit = 1 << option;
                if value != 0 {
                    socket.kept.fetch_or(bit, Ordering::Relaxed);
                } else {
                    socket.kept.fetch_and(!bit, Ordering::Relaxed);
                }
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(0)
    })
}
