// SPDX-License-Identifier: MIT OR Apache-2.0
//! IPv4 and IPv6 sockets. What is for an address of this machine goes from socket to socket, without packets and interfaces;
//! what is for others a thread moves between sockets and interfaces.
//!
//! ```text
//! tcp/, udp/, icmp/ ──▶ ports: who is bound where       local: which addresses are the machine's own
//!                   ──▶ settings: options               endpoint: an address and a port
//!                       circumstances: what is told of datagrams by control messages
//! thread ──▶ tcp/outside, tcp/arrivals, udp/outside, icmp/outside: other machines
//! listing: /proc/net/tcp and so on ──▶ registry: all sockets of a protocol
//! ```

mod circumstances;
mod datagrams;
mod endpoint;
mod icmp;
mod line;
mod listing;
mod local;
mod ports;
mod registry;
mod settings;
mod tcp;
mod thread;
mod udp;

use alloc::boxed::Box;

use linux_raw_sys::net;

pub(crate) use self::endpoint::Family;
pub use self::icmp::{show_groups as show_ping_groups, store_groups as store_ping_groups};
pub use self::listing::{tcp as tcp_sockets, tcp6 as tcp6_sockets, udp as udp_sockets, udp6 as udp6_sockets};
pub use self::thread::{run, work_once};
use crate::{
    errno::{Errno, Result},
    socket::Socket,
};

/// A socket of type `kind`.
///
/// # Errors
/// ESOCKTNOSUPPORT, EPROTONOSUPPORT, ENOMEM.
pub(crate) fn create(family: Family, kind: u32, protocol: u32) -> Result<Box<dyn Socket>> {
    let is = |of: i32| protocol == 0 || protocol == of as u32;
    match kind {
        net::SOCK_STREAM if is(net::IPPROTO_TCP as i32) => tcp::create(family),
        net::SOCK_DGRAM if is(net::IPPROTO_UDP as i32) => udp::create(family),
        net::SOCK_STREAM => Err(Errno::EPROTONOSUPPORT),
        net::SOCK_DGRAM | net::SOCK_RAW => icmp::create(family, kind == net::SOCK_RAW, protocol),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}
