// SPDX-License-Identifier: MIT OR Apache-2.0
//! UDP between sockets of this machine.

mod errors;
mod outside;
mod socket;
mod transfer;

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, sync::Arc};

use exo_vfs::events::Events;
use linux_raw_sys::net;

pub(super) use self::outside::take;
use self::socket::{ALL, UdpSocket};
use super::{
    datagrams::Bound as _,
    endpoint::{Endpoint, Family},
    line::Line,
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

const IPV6: u32 = net::IPPROTO_IPV6 as u32;
const V6ONLY: u32 = 26;

/// What an open file has of a socket: it is closed with this.
struct Handle(Arc<UdpSocket>);

/// A socket.
///
/// # Errors
/// ENOMEM.
pub(super) fn create(family: Family) -> Result<Box<dyn Socket>> {
    Ok(fallible::boxed(Handle(UdpSocket::new(family)?))?)
}

/// What is said of the next socket of a family behind a number; nothing of one that has no port.
pub(super) fn next_line(last: u64, family: Family) -> Option<(u64, Option<Line>)> {
    let (number, socket) = ALL.next_after(last)?;
    let line = socket.filter(|socket| socket.family == family && socket.is_bound()).and_then(|socket| {
        let (local, remote) = {
            let state = socket.state();
            (state.binding.local, state.binding.peer)
        };
        Some(Line {
            local: local?,
            remote,
            // As TCP's ESTABLISHED and CLOSE.
            state: if remote.is_some() { 1 } else { 7 },
            waiting: socket.queued.load(Ordering::Relaxed),
            user: socket.user,
            inode: socket.common.inode.load(Ordering::Relaxed),
            // Not this reference.
            references: Arc::strong_count(&socket),
            left_ns: 0,
        })
    });
    Some((number, line))
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Socket for Handle {
    fn nature(&self) -> Nature {
        let protocol = net::IPPROTO_UDP as u32;
        Nature { domain: self.0.family.number(), kind: net::SOCK_DGRAM, protocol }
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
            Some(_) => {
                let to = Endpoint::of_either(address, self.0.family)?;
                if self.0.settings.is_only_v6() && to.ip.to_ipv4_mapped().is_some() {
                    return Err(Errno::ENETUNREACH);
                }
                self.0.connect(to)
            }
        }
    }

    fn name(&self) -> Result<Address> {
        let family = self.0.family;
        let local = { self.0.state().binding.local };
        local.unwrap_or(Endpoint::any(family)).address(family)
    }

    fn peer_name(&self) -> Result<Address> {
        let peer = { self.0.state().binding.peer };
        peer.ok_or(Errno::ENOTCONN)?.address(self.0.family)
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

    fn receive_failed(&self, how: How, to: &mut IoBuf<'_>, told: &mut Told) -> Option<Result<Received>> {
        Some(errors::receive(&self.0, how, to, told))
    }

    fn option(&self, level: u32, number: u32) -> Option<Result<Value>> {
        self.0.settings.get(level, number)
    }

    fn set_option(&self, level: u32, number: u32, value: &[u8]) -> Option<Result<()>> {
        match (level, number) {
            (IPV6, V6ONLY) if self.0.is_bound() => Some(Err(Errno::EINVAL)),
            _ => self.0.settings.set(level, number, value),
        }
    }

    fn readable(&self) -> Result {
        Ok(self.0.state().inbox.datagrams.front().map_or(0, |datagram| datagram.bytes.len()))
    }

    fn unread(&self) -> Result {
        // What is sent is with its receiver.
        Ok(0)
    }

    fn events(&self) -> Events {
        let state = self.0.state();
        let has_ended = state.inbox.ended & direction::RECEIVE != 0;
        let mut events = Events::OUT;
        events.set(Events::IN, has_ended || !state.inbox.datagrams.is_empty());
        events.set(Events::RDHUP, has_ended);
        events.set(Events::HUP, state.inbox.ended == direction::BOTH);
        events.set(Events::ERR, state.inbox.error.is_some() || !state.failed.is_empty());
        events
    }

    fn queue(&self) -> &WaitQueue {
        &self.0.polled
    }

    fn kernel_memory(&self) -> usize {
        self.0.queued.load(Ordering::Relaxed)
    }
}
