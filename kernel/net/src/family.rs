// SPDX-License-Identifier: MIT OR Apache-2.0
//! The families of sockets that there are. One more is a line in each function here.

use alloc::boxed::Box;

use linux_raw_sys::net;

use crate::{
    errno::{Errno, Result},
    inet::{self, Family},
    netlink,
    socket::Socket,
    unix,
};

/// A new socket of family `domain` and type `kind`.
///
/// # Errors
/// EAFNOSUPPORT for a family that there is not, EPROTONOSUPPORT, ESOCKTNOSUPPORT, ENOMEM.
pub fn create(domain: u32, kind: u32, protocol: u32) -> Result<Box<dyn Socket>> {
    match domain {
        net::AF_UNIX => unix::create(kind, protocol),
        net::AF_INET => inet::create(Family::V4, kind, protocol),
        net::AF_INET6 => inet::create(Family::V6, kind, protocol),
        net::AF_NETLINK => netlink::create(kind, protocol),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Two sockets that are connected with each other.
///
/// # Errors
/// As [`create`]; EOPNOTSUPP for a family without such pairs.
pub fn create_pair(domain: u32, kind: u32, protocol: u32) -> Result<[Box<dyn Socket>; 2]> {
    match domain {
        net::AF_UNIX => unix::create_pair(kind, protocol),
        net::AF_NETLINK => netlink::create(kind, protocol).and(Err(Errno::EOPNOTSUPP)),
        net::AF_INET => inet::create(Family::V4, kind, protocol).and(Err(Errno::EOPNOTSUPP)),
        net::AF_INET6 => inet::create(Family::V6, kind, protocol).and(Err(Errno::EOPNOTSUPP)),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}
