// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options of the level SOL_SOCKET, which sockets of all families have. Refused is what would have to mean something here and does not.

use core::sync::atomic::Ordering;

use exo_core::{thread::capable, user::TimeVal};
use exo_logic::credentials::capability;
use linux_raw_sys::net;
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    errno::{Errno, Result},
    socket::{Socket, Value, value},
};

const SO_PROTOCOL: u32 = 38;
const SO_DOMAIN: u32 = 39;
/// As their old names; a 64-bit program's times are the same.
const SO_RCVTIMEO_NEW: u32 = 66;
const SO_SNDTIMEO_NEW: u32 = 67;

/// Smallest and largest buffers, as on Linux; half of it is what a program asks for.
const LEAST_SEND: u32 = 4608;
const LEAST_RECEIVE: u32 = 2304;
const MOST: u32 = 425_984;

/// Flags that are kept for programs that ask.
const KEPT: [u32; 3] = [net::SO_REUSEADDR, net::SO_BROADCAST, net::SO_KEEPALIVE];

/// An option of a socket.
///
/// # Errors
/// EOPNOTSUPP for a level that it does not have, ENOPROTOOPT for an option.
pub fn get(socket: &dyn Socket, level: u32, option: u32) -> Result<Value> {
    if let Some(own) = socket.option(level, option) {
        return own;
    }
    if level != net::SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let common = socket.common();
    let number = match option {
        net::SO_TYPE => socket.nature().kind,
        SO_DOMAIN => socket.nature().domain,
        SO_PROTOCOL => socket.nature().protocol,
        net::SO_ERROR => socket.take_error().map_or(0, |error| error.0 as u32),
        net::SO_SNDBUF => common.send_buffer.load(Ordering::Relaxed),
        net::SO_RCVBUF => common.receive_buffer.load(Ordering::Relaxed),
        net::SO_ACCEPTCONN => u32::from(socket.is_listening()),
        net::SO_RCVLOWAT | net::SO_SNDLOWAT => 1,
        net::SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW => return Ok(time(&common.receive_timeout)),
        net::SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW => return Ok(time(&common.send_timeout)),
        _ if KEPT.contains(&option) => (common.kept.load(Ordering::Relaxed) >> option) as u32 & 1,
        _ => return Err(Errno::ENOPROTOOPT),
    };
    Ok(value(&number.to_ne_bytes()))
}

fn time(limit: &core::sync::atomic::AtomicU64) -> Value {
    value(TimeVal::from_ns(limit.load(Ordering::Relaxed)).as_bytes())
}

/// A time limit in nanoseconds; a negative one is none at all but the shortest.
fn time_limit(bytes: &[u8]) -> Result<u64> {
    let (time, _) = TimeVal::read_from_prefix(bytes).map_err(|_| Errno::EINVAL)?;
    if !(0..1_000_000).contains(&time.microseconds) {
        return Err(Errno::EDOM);
    }
    if time.seconds < 0 { Ok(1) } else { time.to_ns() }
}

/// The number that an option is set to; EINVAL if there are too few bytes for one.
pub fn number(bytes: &[u8]) -> Result<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

/// Sets an option of a socket.
///
/// # Errors
/// As [`get`]; EINVAL, EDOM for a bad value, EPERM.
pub fn set(socket: &dyn Socket, level: u32, option: u32, bytes: &[u8]) -> Result<()> {
    if let Some(own) = socket.set_option(level, option, bytes) {
        return own;
    }
    if level != net::SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let common = socket.common();
    let timeout = match option {
        net::SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW => Some(&common.receive_timeout),
        net::SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW => Some(&common.send_timeout),
        _ => None,
    };
    if let Some(timeout) = timeout {
        timeout.store(time_limit(bytes)?, Ordering::Relaxed);
        return Ok(());
    }
    let wanted = number(bytes)?;
    let (limited, forced) = (wanted.min(MOST / 2) * 2, wanted.min(i32::MAX as u32 / 2) * 2);
    match option {
        net::SO_SNDBUF => set_send_buffer(socket, limited),
        net::SO_RCVBUF => set_receive_buffer(socket, limited),
        // As high as those who may change others' limits like.
        net::SO_SNDBUFFORCE | net::SO_RCVBUFFORCE if !capable(capability::SYS_ADMIN) => {
            return Err(Errno::EPERM);
        }
        net::SO_SNDBUFFORCE => set_send_buffer(socket, forced),
        net::SO_RCVBUFFORCE => set_receive_buffer(socket, forced),
        _ if KEPT.contains(&option) => {
            let bit = 1 << option;
            if wanted != 0 {
                common.kept.fetch_or(bit, Ordering::Relaxed);
            } else {
                common.kept.fetch_and(!bit, Ordering::Relaxed);
            }
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

fn set_send_buffer(socket: &dyn Socket, bytes: u32) {
    socket.common().send_buffer.store(bytes.max(LEAST_SEND), Ordering::Relaxed);
    socket.send_buffer_changed();
}

fn set_receive_buffer(socket: &dyn Socket, bytes: u32) {
    socket.common().receive_buffer.store(bytes.max(LEAST_RECEIVE), Ordering::Relaxed);
    socket.receive_buffer_changed();
}
