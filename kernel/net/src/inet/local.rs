// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which addresses are this machine's own: sockets reach each other there without an interface.

use core::net::{Ipv4Addr, Ipv6Addr};

use exo_core::thread::capable;
use exo_logic::credentials::capability;

use super::endpoint::{Endpoint, is_any};
use crate::{
    errno::{Errno, Result},
    interfaces,
};

/// Ports below this are for who may have them.
const FIRST_FREE: u16 = 1024;

/// Whether an address is one of this machine's.
pub(super) fn is_own(ip: Ipv6Addr) -> bool {
    match ip.to_ipv4_mapped() {
        Some(ip) => ip.is_loopback() || interfaces::is_own(ip),
        None => ip.is_loopback(),
    }
}

/// Where something to this address goes: the address of all is the machine itself.
pub(super) fn destination(ip: Ipv6Addr) -> Ipv6Addr {
    match ip.to_ipv4_mapped() {
        Some(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
        None if ip.is_unspecified() => Ipv6Addr::LOCALHOST,
        _ => ip,
    }
}

/// The address that something to `to` comes from.
///
/// # Errors
/// ENETUNREACH if it is not the machine's own.
pub(super) fn source(to: Ipv6Addr) -> Result<Ipv6Addr> {
    match to.to_ipv4_mapped() {
        // As on Linux, which has one route for all of 127.0.0.0/8.
        Some(ip) if ip.is_loopback() => Ok(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
        _ if is_own(to) => Ok(to),
        _ => Err(Errno::ENETUNREACH),
    }
}

/// How something gets to an address.
pub(super) struct Way {
    /// The address that it comes from.
    pub(super) source: Ipv6Addr,
    /// That of another machine, if it is one's.
    pub(super) outside: Option<Ipv4Addr>,
}

/// The way to an address.
///
/// # Errors
/// ENETUNREACH if there is none.
#[inline]
pub(super) fn way(to: Ipv6Addr) -> Result<Way> {
    match source(to) {
        Ok(source) => Ok(Way { source, outside: None }),
        Err(error) => way_out(to, error),
    }
}

/// The way to an address of another machine, or this error if there is none.
#[cold]
fn way_out(to: Ipv6Addr, error: Errno) -> Result<Way> {
    let target = to.to_ipv4_mapped().ok_or(error)?;
    let (_, own) = interfaces::way_to(target).ok_or(error)?;
    Ok(Way { source: own.to_ipv6_mapped(), outside: Some(target) })
}

/// Whether a program may bind a socket there.
///
/// # Errors
/// EADDRNOTAVAIL, EACCES.
pub(super) fn check_bind(at: Endpoint) -> Result<()> {
    if !is_any(at.ip) && !is_own(at.ip) {
        return Err(Errno::EADDRNOTAVAIL);
    }
    if (1..FIRST_FREE).contains(&at.port) && !capable(capability::NET_BIND_SERVICE) {
        return Err(Errno::EACCES);
    }
    Ok(())
}
