// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a socket is: an address and a port. IPv4 addresses are kept mapped into IPv6 (`::ffff:127.0.0.1`), so that one code serves both.

use core::net::{Ipv4Addr, Ipv6Addr};

use linux_raw_sys::net;

use crate::{
    address::Address,
    errno::{Errno, Result},
};

/// Which addresses a socket's program speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
}

impl Family {
    /// Its number.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::V4 => net::AF_INET,
            Self::V6 => net::AF_INET6,
        }
    }

    /// The address that stands for all.
    pub(super) fn any(self) -> Ipv6Addr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(),
            Self::V6 => Ipv6Addr::UNSPECIFIED,
        }
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) ip: Ipv6Addr,
    pub(super) port: u16,
}

/// Bytes of `struct sockaddr_in`.
const SIZE_V4: usize = 16;
/// Bytes of `struct sockaddr_in6`; the scope at the end may be missing.
const SIZE_V6: usize = 28;
const LEAST_V6: usize = 24;

/// Whether an address stands for all of a family.
pub(super) fn is_any(ip: Ipv6Addr) -> bool {
    ip.is_unspecified() || ip == Family::V4.any()
}

impl Endpoint {
    /// Nowhere in particular.
    pub(super) fn any(family: Family) -> Self {
        Self { ip: family.any(), port: 0 }
    }

    /// What a program's address says to a socket of `family`.
    ///
    /// # Errors
    /// EINVAL if it is too short, EAFNOSUPPORT for another family.
    pub(super) fn of(address: &Address, family: Family) -> Result<Self> {
        match family {
            Family::V4 => Self::of_v4(address),
            Family::V6 => Self::of_v6(address),
        }
    }

    /// The same for datagrams: with AF_INET6 an address of AF_INET is one, too, and with that one of no family.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) fn of_either(address: &Address, family: Family) -> Result<Self> {
        match (address.family(), family) {
            (Some(net::AF_UNSPEC), Family::V4) => Self::of_v4_bytes(address),
            (Some(net::AF_INET), _) => Self::of(address, Family::V4),
            _ => Self::of(address, family),
        }
    }

    /// Where a program wants to be bound.
    ///
    /// # Errors
    /// As [`of`](Self::of); EINVAL for an IPv4 address if the socket is for IPv6 alone.
    pub(super) fn to_bind(address: &Address, family: Family, only_v6: bool) -> Result<Self> {
        let at = match family {
            // As on Linux, for old programs: no family, and no address.
            Family::V4 if address.family() == Some(net::AF_UNSPEC) => Self::of_v4_bytes(address)
                .and_then(|at| if is_any(at.ip) { Ok(at) } else { Err(Errno::EAFNOSUPPORT) })?,
            _ => Self::of(address, family)?,
        };
        if only_v6 && at.ip.to_ipv4_mapped().is_some() { Err(Errno::EINVAL) } else { Ok(at) }
    }

    fn of_v4(address: &Address) -> Result<Self> {
        let at = Self::of_v4_bytes(address)?;
        if address.family() == Some(net::AF_INET) { Ok(at) } else { Err(Errno::EAFNOSUPPORT) }
    }

    fn of_v4_bytes(address: &Address) -> Result<Self> {
        let bytes: &[u8; SIZE_V4] = address.bytes().first_chunk().ok_or(Errno::EINVAL)?;
        let [_, _, high, low, a, b, c, d, ..] = *bytes;
        let ip = Ipv4Addr::new(a, b, c, d).to_ipv6_mapped();
        Ok(Self { ip, port: u16::from_be_bytes([high, low]) })
    }

    fn of_v6(address: &Address) -> Result<Self> {
        let bytes: &[u8; LEAST_V6] = address.bytes().first_chunk().ok_or(Errno::EINVAL)?;
        if address.family() != Some(net::AF_INET6) {
            return Err(Errno::EAFNOSUPPORT);
        }
        let [_, _, high, low, ..] = *bytes;
        let ip: &[u8; 16] = bytes.last_chunk().ok_or(Errno::EINVAL)?;
        Ok(Self { ip: Ipv6Addr::from(*ip), port: u16::from_be_bytes([high, low]) })
    }

    /// As programs see it.
    pub(super) fn address(&self, family: Family) -> Result<Address> {
        let mut bytes = [0; SIZE_V6];
        let [first, second] = (family.number() as u16).to_ne_bytes();
        let [high, low] = self.port.to_be_bytes();
        if let Some(start) = bytes.first_chunk_mut() {
            *start = [first, second, high, low];
        }
        let (ip, from, size) = match (family, self.ip.to_ipv4_mapped()) {
            (Family::V4, Some(ip)) => (&ip.octets()[..], 4, SIZE_V4),
            (Family::V4, None) => (&[][..], 4, SIZE_V4),
            (Family::V6, _) => (&self.ip.octets()[..], 8, SIZE_V6),
        };
        for (to, from) in bytes.iter_mut().skip(from).zip(ip) {
            *to = *from;
        }
        Address::new(bytes.get(..size).unwrap_or_default())
    }
}
