// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs ask any socket about interfaces (`SIOCGIF…`): by a `struct ifreq`, or all of them by a `struct ifconf`.

use core::net::Ipv4Addr;

use exo_core::thread::capable;
use exo_logic::credentials::capability;
use linux_raw_sys::{ioctl, net};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    interfaces::{self, Described},
    user,
};

/// Bytes of an interface's name, with the zero at its end.
const NAME: usize = 16;
/// Bytes of what is said about it.
const DATA: usize = 24;
/// `ARPHRD_` numbers: what hardware addresses are of.
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;
/// Packets that wait to be sent, as Linux says by default.
const QUEUE: i32 = 1000;

/// `struct ifreq`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    name: [u8; NAME],
    data: [u8; DATA],
}

/// `struct ifconf`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct All {
    length: i32,
    padding: u32,
    at: usize,
}

impl Request {
    fn of(name: &str) -> Self {
        let mut request = Self { name: [0; NAME], data: [0; DATA] };
        for (to, from) in request.name.iter_mut().zip(name.bytes().take(NAME - 1)) {
            *to = from;
        }
        request
    }

    fn put(&mut self, bytes: &[u8]) {
        for (to, from) in self.data.iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    /// An IPv4 address, as a `struct sockaddr_in`.
    fn put_address(&mut self, address: Ipv4Addr) {
        let [first, second] = (net::AF_INET as u16).to_ne_bytes();
        let [a, b, c, d] = address.octets();
        self.put(&[first, second, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    /// The interface with its name.
    fn interface(&self) -> Result<Described> {
        let length = self.name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
        let name = self.name.get(..length).unwrap_or_default();
        interfaces::described().find(|interface| interface.name.as_bytes() == name).ok_or(Errno::ENODEV)
    }
}

fn mask(bits: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0))
}

/// The address that reaches all of a network; none has one alone.
fn broadcast(interface: &Described, address: Ipv4Addr, bits: u8) -> Ipv4Addr {
    if interface.is_loopback() { Ipv4Addr::UNSPECIFIED } else { address | !mask(bits) }
}

/// Answers a request about interfaces; none if it is about something else.
pub(crate) fn answer(number: u32, argument: usize) -> Option<Result> {
    let result = match number {
        ioctl::SIOCGIFCONF => list(argument),
        ioctl::SIOCSIFFLAGS => set_flags(argument),
        ioctl::SIOCGIFNAME => name(argument),
        ioctl::SIOCGIFFLAGS
        | ioctl::SIOCGIFADDR
        | ioctl::SIOCGIFDSTADDR
        | ioctl::SIOCGIFBRDADDR
        | ioctl::SIOCGIFNETMASK
        | ioctl::SIOCGIFMTU
        | ioctl::SIOCGIFHWADDR
        | ioctl::SIOCGIFINDEX
        | ioctl::SIOCGIFMETRIC
        | ioctl::SIOCGIFTXQLEN => about(number, argument),
        _ => return None,
    };
    Some(result)
}

fn about(number: u32, argument: usize) -> Result {
    let mut request: Request = user::read(argument)?;
    let interface = request.interface()?;
    let address = || interface.address.ok_or(Errno::EADDRNOTAVAIL);
    match number {
        ioctl::SIOCGIFFLAGS => request.put(&interface.flags().to_ne_bytes()),
        ioctl::SIOCGIFADDR | ioctl::SIOCGIFDSTADDR => request.put_address(address()?.0),
        ioctl::SIOCGIFNETMASK => request.put_address(mask(address()?.1)),
        ioctl::SIOCGIFBRDADDR => {
            let (ip, bits) = address()?;
            request.put_address(broadcast(&interface, ip, bits));
        }
        ioctl::SIOCGIFMTU => request.put(&interface.mtu().to_ne_bytes()),
        ioctl::SIOCGIFINDEX => request.put(&interface.index.to_ne_bytes()),
        ioctl::SIOCGIFTXQLEN => request.put(&QUEUE.to_ne_bytes()),
        ioctl::SIOCGIFMETRIC => request.put(&0_i32.to_ne_bytes()),
        _ => {
            let kind = if interface.is_loopback() { LOOPBACK } else { ETHERNET };
            let [first, second] = kind.to_ne_bytes();
            let [a, b, c, d, e, f] = interface.hardware.unwrap_or_default();
            request.put(&[first, second, a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
    user::write(argument, &request).map(|()| 0)
}

/// The name of the interface with a number.
fn name(argument: usize) -> Result {
    let request: Request = user::read(argument)?;
    let index = request.data.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    let interface = interfaces::described().find(|it| it.index == index).ok_or(Errno::ENODEV)?;
    let named = Request { data: request.data, ..Request::of(&interface.name) };
    user::write(argument, &named).map(|()| 0)
}

/// Interfaces are up for good: that can be said again, and no other flag is changed.
fn set_flags(argument: usize) -> Result {
    let request: Request = user::read(argument)?;
    let interface = request.interface()?;
    if !capable(capability::NET_ADMIN) {
        return Err(Errno::EPERM);
    }
    let wanted = request.data.first_chunk().map_or(0, |bytes| i16::from_ne_bytes(*bytes));
    if wanted & interfaces::UP == interface.flags() & interfaces::UP { Ok(0) } else { Err(Errno::EOPNOTSUPP) }
}

/// All interfaces that have an address; without room, how many bytes that takes.
fn list(argument: usize) -> Result {
    let mut all: All = user::read(argument)?;
    let room = usize::try_from(all.length).map_err(|_| Errno::EINVAL)?;
    let mut done = 0;
    for interface in interfaces::described() {
        let Some((address, _)) = interface.address else { continue };
        if all.at != 0 {
            if room - done < size_of::<Request>() {
                break;
            }
            let mut request = Request::of(&interface.name);
            request.put_address(address);
            user::write(all.at.wrapping_add(done), &request)?;
        }
        done += size_of::<Request>();
    }
    all.length = i32::try_from(done).unwrap_or(i32::MAX);
    user::write(argument, &all).map(|()| 0)
}
