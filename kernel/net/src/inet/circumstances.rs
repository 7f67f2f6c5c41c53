// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a datagram travels: what a receiver may ask to be told of it by control messages, and what a sender may say by them.

use core::net::{Ipv4Addr, Ipv6Addr};

use alloc::vec::Vec;

use exo_core::user::{TimeSpec, TimeVal};
use exo_hal::time;
use linux_raw_sys::net;
use zerocopy::IntoBytes;

use super::{
    endpoint::{Endpoint, Family, is_any},
    local,
    settings::{Settings, tell},
};
use crate::{
    errno::{Errno, Result},
    fallible, interfaces,
    socket::{ControlMessage, LONGEST_CONTROL, Told},
};

const IP: u32 = net::IPPROTO_IP as u32;
const IPV6: u32 = net::IPPROTO_IPV6 as u32;
const IP_TOS: u32 = 1;
const IP_TTL: u32 = 2;
const IP_PKTINFO: u32 = 8;
const IP_ORIGDSTADDR: u32 = 20;
const IPV6_2292PKTINFO: u32 = 2;
const IPV6_2292HOPLIMIT: u32 = 8;
const IPV6_PKTINFO: u32 = 50;
const IPV6_HOPLIMIT: u32 = 52;
const IPV6_TCLASS: u32 = 67;
const IPV6_ORIGDSTADDR: u32 = 74;
/// Bytes of `struct in_pktinfo` and `struct in6_pktinfo`.
const INFO: usize = 12;
const INFO_V6: usize = 20;

/// How a datagram has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// To which address.
    pub(super) to: Ipv6Addr,
    /// By which interface, by its number.
    pub(super) interface: u32,
    /// Its time to live, or hop limit.
    pub(super) ttl: u8,
    /// Its type of service, or traffic class.
    pub(super) tos: u8,
    /// When, by the wall clock; 0 where nobody had asked.
    pub(super) at: u64,
}

impl Circumstances {
    /// Those of what came within the machine to a socket that had asked for none then.
    pub(super) fn unasked(at: Endpoint) -> Self {
        let to = if is_any(at.ip) { local::destination(at.ip) } else { at.ip };
        Self { to, interface: LOOPBACK, ttl: TTL, tos: 0, at: 0 }
    }
}

/// The time to live that is usual.
const TTL: u8 = 64;

/// The number of the interface `lo`.
pub(super) const LOOPBACK: u32 = 1;

/// The time, for the circumstances of what comes to a socket with these options; 0 if it does not ask.
#[inline]
pub(super) fn stamp(settings: &Settings) -> u64 {
    const TIMES: u32 = tell::TIMESTAMP | tell::TIMESTAMPNS | tell::TIMESTAMP_NEW | tell::TIMESTAMPNS_NEW;
    if settings.told() & TIMES == 0 { 0 } else { time::wall_ns() }
}

fn message(level: u32, kind: u32, data: &[u8]) -> ControlMessage {
    ControlMessage { level, kind, data: data.iter().copied().take(LONGEST_CONTROL).collect() }
}

fn number(level: u32, kind: u32, number: u8) -> ControlMessage {
    message(level, kind, &i32::from(number).to_ne_bytes())
}

/// What a socket is told with a datagram that came to `port`.
///
/// # Errors
/// ENOMEM.
#[cold]
pub(super) fn told(
    settings: &Settings,
    family: Family,
    how: &Circumstances,
    port: u16,
    told: &mut Told,
) -> Result<()> {
    let wanted = settings.told();
    let messages = &mut told.messages;
    fallible::reserve(messages, 14)?;
    let at = || if how.at == 0 { time::wall_ns() } else { how.at };
    let (seconds, exact) = (|| TimeVal::from_ns(at()), || TimeSpec::from_ns(at()));
    let v4 = how.to.to_ipv4_mapped();
    let interface = how.interface.to_ne_bytes();
    let mut tell = |bit: u32, make: &dyn Fn() -> Option<ControlMessage>| {
        if wanted & bit != 0 {
            // There is room for all of them.
            messages.extend(make());
        }
    };
    let socket = |kind, data: &[u8]| Some(message(net::SOL_SOCKET, kind, data));
    tell(tell::TIMESTAMP, &|| socket(net::SO_TIMESTAMP_OLD, seconds().as_bytes()));
    tell(tell::TIMESTAMPNS, &|| socket(net::SO_TIMESTAMPNS_OLD, exact().as_bytes()));
    tell(tell::TIMESTAMP_NEW, &|| socket(net::SO_TIMESTAMP_NEW, seconds().as_bytes()));
    tell(tell::TIMESTAMPNS_NEW, &|| socket(net::SO_TIMESTAMPNS_NEW, exact().as_bytes()));
    if family == Family::V6 {
        let mut info = [0; INFO_V6];
        info.iter_mut().zip(how.to.octets().iter().chain(&interface)).for_each(|(to, from)| *to = *from);
        tell(tell::PKTINFO_V6, &|| Some(message(IPV6, IPV6_PKTINFO, &info)));
        tell(tell::OLD_PKTINFO_V6, &|| Some(message(IPV6, IPV6_2292PKTINFO, &info)));
    }
    match v4 {
        Some(to) => {
            tell(tell::PKTINFO, &|| {
                let mut info = [0; INFO];
                let bytes =
                    interface.iter().chain(&to.octets()).chain(&to.octets()).copied().collect::<Vec<_>>();
                info.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
                Some(message(IP, IP_PKTINFO, &info))
            });
            tell(tell::TTL, &|| Some(number(IP, IP_TTL, how.ttl)));
            tell(tell::TOS, &|| Some(message(IP, IP_TOS, &[how.tos])));
            tell(tell::ORIGINAL, &|| {
                let address = Endpoint { ip: how.to, port }.address(Family::V4).ok()?;
                Some(message(IP, IP_ORIGDSTADDR, address.bytes()))
            });
        }
        None => {
            tell(tell::HOP_LIMIT, &|| Some(number(IPV6, IPV6_HOPLIMIT, how.ttl)));
            tell(tell::OLD_HOP_LIMIT, &|| Some(number(IPV6, IPV6_2292HOPLIMIT, how.ttl)));
            tell(tell::TCLASS, &|| Some(number(IPV6, IPV6_TCLASS, how.tos)));
            tell(tell::ORIGINAL_V6, &|| {
                let address = Endpoint { ip: how.to, port }.address(Family::V6).ok()?;
                Some(message(IPV6, IPV6_ORIGDSTADDR, address.bytes()))
            });
        }
    }
    Ok(())
}

/// What a sender says of one datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// From which of the machine's addresses it comes.
    pub(super) source: Option<Ipv6Addr>,
    /// Its time to live.
    pub(super) ttl: Option<u8>,
    /// Its type of service.
    pub(super) tos: Option<u8>,
}

fn int(data: &[u8]) -> Option<i32> {
    if data.len() == size_of::<i32>() {
        data.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
    } else {
        None
    }
}

/// A number from 0; -1 leaves it as it is.
fn small(data: &[u8]) -> Result<Option<u8>> {
    match int(data) {
        Some(-1) => Ok(None),
        Some(number) => u8::try_from(number).map(Some).map_err(|_| Errno::EINVAL),
        None => Err(Errno::EINVAL),
    }
}

/// Checks the interface that a sender has chosen, and the address; `error` if that is not the machine's.
fn source(interface: u32, ip: Ipv6Addr, error: Errno) -> Result<Option<Ipv6Addr>> {
    let is_one = || interfaces::described().any(|one| one.index as u32 == interface);
    if interface != 0 && !is_one() {
        return Err(Errno::ENODEV);
    }
    match ip {
        ip if is_any(ip) => Ok(None),
        ip if local::is_own(ip) => Ok(Some(ip)),
        _ => Err(error),
    }
}

/// Reads what a program says with something that it sends over IPv4, or over IPv6.
///
/// # Errors
/// EINVAL for what there is not, ENODEV.
#[cold]
pub(super) fn said(messages: &[ControlMessage], over_v4: bool) -> Result<Said> {
    let mut said = Said::default();
    for ControlMessage { level, kind, data } in messages {
        match (*level, *kind) {
            (IP, _) if !over_v4 => {}
            (IP, IP_PKTINFO) if data.len() == INFO => {
                let &[a, b, c, d, e, f, g, h, ..] = &data[..] else { return Err(Errno::EINVAL) };
                let ip = Ipv4Addr::new(e, f, g, h).to_ipv6_mapped();
                said.source = source(u32::from_ne_bytes([a, b, c, d]), ip, Errno::ENETUNREACH)?;
            }
            (IP, IP_TTL) => {
                let ttl = int(data).filter(|ttl| (1..=255).contains(ttl)).ok_or(Errno::EINVAL)?;
                said.ttl = Some(ttl as u8);
            }
            (IP, IP_TOS) => {
                let tos = match &data[..] {
                    [tos] => i32::from(*tos),
                    data => int(data).ok_or(Errno::EINVAL)?,
                };
                said.tos = Some(u8::try_from(tos).map_err(|_| Errno::EINVAL)?);
            }
            (IPV6, IPV6_PKTINFO) => {
                let info: &[u8; INFO_V6] = data.first_chunk().ok_or(Errno::EINVAL)?;
                let (ip, interface) = info.split_at(16);
                let ip = ip.first_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED, |ip| Ipv6Addr::from(*ip));
                let interface = interface.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
                said.source = source(interface, ip, Errno::EINVAL)?;
            }
            (IPV6, _) if over_v4 => {}
            (IPV6, IPV6_HOPLIMIT) => said.ttl = small(data)?,
            (IPV6, IPV6_TCLASS) => said.tos = small(data)?,
            (IP | IPV6, _) => return Err(Errno::EINVAL),
            // What is for another level is not looked at.
            _ => {}
        }
    }
    Ok(said)
}
