// SPDX-License-Identifier: MIT OR Apache-2.0
//! ICMP and ICMPv6: sockets for pings (SOCK_DGRAM), which send echo requests and get the answers to those alone, and raw ones (SOCK_RAW), which
//! send and get all messages. What is for the machine itself is answered here.
//!
//! ```text
//! Handle (what the open file has) ──▶ socket::IcmpSocket     transfer: sending and receiving
//!     arrive: a packet has come: who gets it, and is it answered     outside: to and from other machines
//! ```

mod arrive;
mod filter;
mod outside;
mod socket;
mod transfer;

use core::{
    fmt::Write,
    sync::atomic::{AtomicU32, Ordering},
};

use alloc::{boxed::Box, sync::Arc};

use exo_core::{
    credentials::Which,
    thread::{capable, running},
};
use exo_logic::credentials::capability;
use exo_vfs::events::Events;
use linux_raw_sys::net;

use self::{filter::Filter, socket::IcmpSocket};
use super::{
    datagrams::Bound as _,
    endpoint::{Endpoint, Family},
};
use crate::{
    address::Address,
    common::Common,
    errno::{Errno, Result},
    fallible,
    io_buf::{IoBuf, IoSource},
    sched::wait::WaitQueue,
    socket::{ControlMessage, How, Nature, Outgoing, Received, Socket, Told, Value, direction},
};

/// The groups whose processes may have sockets for pings, from the first to the last (net.ipv4.ping_group_range). At first nobody.
static GROUPS: [AtomicU32; 2] = [AtomicU32::new(1), AtomicU32::new(0)];

/// /proc/sys/net/ipv4/ping_group_range.
pub fn show_groups(out: &mut dyn Write) -> core::fmt::Result {
    let [first, last] = &GROUPS;
    writeln!(out, "{}\t{}", first.load(Ordering::Relaxed), last.load(Ordering::Relaxed))
}

/// Sets it. A range that ends before it begins is none.
///
/// # Errors
/// EINVAL.
pub fn store_groups(value: &[u8]) -> Result<()> {
    let text = core::str::from_utf8(value).map_err(|_| Errno::EINVAL)?;
    let mut numbers = text.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(first)), Some(Ok(last)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
        return Err(Errno::EINVAL);
    };
    let range = if last < first || last > i32::MAX as u32 { [1, 0] } else { [first, last] };
    for (to, from) in GROUPS.iter().zip(range) {
        to.store(from, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether the process may have a socket for pings.
fn may_ping() -> bool {
    let [first, last] = GROUPS.each_ref().map(|group| group.load(Ordering::Relaxed));
    let is_in = |group: &u32| (first..=last).contains(group);
    let task = running();
    is_in(&task.credentials.id(Which::EffectiveGroup))
        || task.credentials.get().supplementary.iter().any(is_in)
}

/// What an open file has of a socket: it is closed with this.
struct Handle(Arc<IcmpSocket>);

/// A socket, for all messages if it `is_raw`.
///
/// # Errors
/// EPROTONOSUPPORT, EPERM, EACCES, ENOMEM.
pub(super) fn create(family: Family, is_raw: bool, protocol: u32) -> Result<Box<dyn Socket>> {
    if protocol != protocol_of(family) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    if is_raw && !capable(capability::NET_RAW) {
        return Err(Errno::EPERM);
    }
    if !is_raw && !may_ping() {
        return Err(Errno::EACCES);
    }
    let socket = IcmpSocket::new(family, is_raw)?;
    if is_raw && family == Family::V4 {
        let gates = outside::gates()?;
        socket.state().gates = gates;
    }
    Ok(fallible::boxed(Handle(socket))?)
}

fn protocol_of(family: Family) -> u32 {
    match family {
        Family::V4 => net::IPPROTO_ICMP as u32,
        Family::V6 => net::IPPROTO_ICMPV6,
    }
}

/// Gives what other machines have sent to whom it is for.
pub(super) fn take_all() {
    outside::take_all();
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Socket for Handle {
    fn nature(&self) -> Nature {
        let family = self.0.family;
        let kind = if self.0.is_raw { net::SOCK_RAW } else { net::SOCK_DGRAM };
        Nature { domain: family.number(), kind, protocol: protocol_of(family) }
    }

    fn common(&self) -> &Common {
        &self.0.common
    }

    fn bind(&self, address: &Address, _mode: u32) -> Result<()> {
        self.0.bind(Endpoint::to_bind(address, self.0.family, self.0.settings.is_only_v6())?)
    }

    fn connect(&self, address: &Address, _no_wait: bool) -> Result<()> {
        match address.family() {
            None => Err(Errno::EINVAL),
            Some(net::AF_UNSPEC) => {
                self.0.disconnect();
                self.0.state().inbox.error = None;
                Ok(())
            }
            Some(_) => self.0.connect(Endpoint::of(address, self.0.family)?),
        }
    }

    fn name(&self) -> Result<Address> {
        self.0.name().address(self.0.family)
    }

    fn peer_name(&self) -> Result<Address> {
        let peer = { self.0.state().binding.peer };
        // As on Linux: who was connected to no port has no name.
        peer.filter(|peer| peer.port != 0).ok_or(Errno::ENOTCONN)?.address(self.0.family)
    }

    fn send(&self, outgoing: Outgoing<'_>, from: &mut IoSource<'_>) -> Result {
        transfer::send(&self.0, outgoing.how, outgoing.to, &[], from)
    }

    fn receive(&self, how: How, to: &mut IoBuf<'_>) -> Result<Received> {
        transfer::receive(&self.0, how, to, None)
    }

    fn shutdown(&self, directions: u8) -> Result<()> {
        let is_connected = {
            let mut state = self.0.state();
            state.inbox.ended |= directions;
            state.binding.peer.is_some()
        };
        self.0.tell_receivers();
        if is_connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    fn take_error(&self) -> Option<Errno> {
        self.0.state().inbox.error.take()
    }

    fn keep_error(&self, error: Errno) {
        self.0.state().inbox.error = Some(error);
    }

    fn option(&self, level: u32, number: u32) -> Option<Result<Value>> {
        let filter = if self.0.is_raw { self.0.filter.get(self.0.family, level, number) } else { None };
        filter.or_else(|| self.0.settings.get(level, number))
    }

    fn set_option(&self, level: u32, number: u32, value: &[u8]) -> Option<Result<()>> {
        let filter =
            if self.0.is_raw { self.0.filter.set(self.0.family, level, number, value) } else { None };
        filter.or_else(|| self.0.settings.set(level, number, value))
    }

    fn takes_control(&self) -> bool {
        true
    }

    fn send_with(
        &self,
        outgoing: Outgoing<'_>,
        control: &[ControlMessage],
        from: &mut IoSource<'_>,
    ) -> Result {
        transfer::send(&self.0, outgoing.how, outgoing.to, control, from)
    }

    fn receive_told(&self, how: How, to: &mut IoBuf<'_>, told: &mut Told) -> Result<Received> {
        transfer::receive(&self.0, how, to, Some(told))
    }

    fn receive_failed(&self, _how: How, _to: &mut IoBuf<'_>, _told: &mut Told) -> Option<Result<Received>> {
        // Nothing that is sent within the machine fails, and what fails elsewhere is not told.
        Some(Err(Errno::EAGAIN))
    }

    fn readable(&self) -> Result {
        if !self.0.is_raw {
            return Err(Errno::ENOTTY);
        }
        Ok(self.0.state().inbox.datagrams.front().map_or(0, |packet| packet.of(&self.0).len()))
    }

    fn unread(&self) -> Result {
        // What is sent is with its receiver.
        if self.0.is_raw { Ok(0) } else { Err(Errno::ENOTTY) }
    }

    fn events(&self) -> Events {
        let state = self.0.state();
        let has_ended = state.inbox.ended & direction::RECEIVE != 0;
        let mut events = Events::OUT;
        events.set(Events::IN, has_ended || !state.inbox.datagrams.is_empty());
        events.set(Events::RDHUP, has_ended);
        events.set(Events::HUP, state.inbox.ended == direction::BOTH);
        events.set(Events::ERR, state.inbox.error.is_some());
        events
    }

    fn queue(&self) -> &WaitQueue {
        &self.0.polled
    }

    fn kernel_memory(&self) -> usize {
        self.0.queued.load(Ordering::Relaxed)
    }
}
