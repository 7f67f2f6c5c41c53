// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unix sockets: streams, datagrams and packets between the programs of this machine.
//!
//! ```text
//! Endpoint (what the open file has) ──▶ socket::UnixSocket: its queue of messages, its peer, its name
//!     names: who is bound to what         connect: pairs, listeners, connections
//!     send, receive, events               close: the end, with what was still on its way
//!     in_flight: files in messages        garbage: sockets that only hold each other
//! ```

mod close;
mod connect;
mod events;
mod garbage;
mod holding;
mod in_flight;
mod listing;
mod name;
mod names;
mod receive;
mod send;
mod socket;

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, sync::Arc};

use exo_vfs::events::Events;
use linux_raw_sys::net;
use zerocopy::IntoBytes;

use self::socket::{Kind, Phase, UnixSocket};
pub use self::{
    in_flight::{MOST_FILES, may_be_sent},
    listing::sockets,
};
use crate::{
    address::Address,
    common::Common,
    errno::{Errno, Result},
    fallible,
    holder::Holder,
    io_buf::{IoBuf, IoSource},
    options,
    sched::wait::WaitQueue,
    socket::{How, Nature, Outgoing, Received, Sender, Socket, Value, value},
};

/// What an open file has of a socket: it is closed with this.
struct Endpoint(Arc<UnixSocket>);

fn kind(number: u32, protocol: u32) -> Result<Kind> {
    if protocol != 0 && protocol != net::AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Kind::of(number)
}

fn endpoint(socket: Arc<UnixSocket>) -> Result<Box<dyn Socket>> {
    // Without memory for it, it is closed.
    Ok(fallible::boxed(Endpoint(socket))?)
}

/// A socket.
///
/// # Errors
/// EPROTONOSUPPORT, ESOCKTNOSUPPORT, ENOMEM.
pub(crate) fn create(number: u32, protocol: u32) -> Result<Box<dyn Socket>> {
    endpoint(UnixSocket::new(kind(number, protocol)?)?)
}

/// Two that are connected with each other.
///
/// # Errors
/// As [`create`].
pub(crate) fn create_pair(number: u32, protocol: u32) -> Result<[Box<dyn Socket>; 2]> {
    let [first, second] = connect::pair(kind(number, protocol)?)?;
    Ok([endpoint(first)?, endpoint(second)?])
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        close::close(&self.0);
    }
}

impl Socket for Endpoint {
    fn nature(&self) -> Nature {
        Nature { domain: net::AF_UNIX, kind: self.0.kind.number(), protocol: 0 }
    }

    fn common(&self) -> &Common {
        &self.0.common
    }

    fn bind(&self, address: &Address, mode: u32) -> Result<()> {
        names::bind(&self.0, address, mode)
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        connect::listen(&self.0, backlog)
    }

    fn accept(&self, no_wait: bool) -> Result<Box<dyn Socket>> {
        endpoint(connect::accept(&self.0, no_wait)?)
    }

    fn connect(&self, address: &Address, no_wait: bool) -> Result<()> {
        connect::connect(&self.0, address, no_wait)
    }

    fn name(&self) -> Result<Address> {
        Ok(self.0.address())
    }

    fn peer_name(&self) -> Result<Address> {
        let peer = self.0.state().peer.clone().ok_or(Errno::ENOTCONN)?;
        Ok(peer.address())
    }

    fn send(&self, outgoing: Outgoing<'_>, from: &mut IoSource<'_>) -> Result {
        if !outgoing.files.is_empty() {
            garbage::note();
        }
        send::send(&self.0, outgoing, from)
    }

    fn receive(&self, how: How, to: &mut IoBuf<'_>) -> Result<Received> {
        receive::receive(&self.0, how, to)
    }

    fn shutdown(&self, directions: u8) -> Result<()> {
        self.0.shutdown(directions);
        Ok(())
    }

    fn take_error(&self) -> Option<Errno> {
        self.0.take_error()
    }

    fn keep_error(&self, error: Errno) {
        self.0.state().error = Some(error);
    }

    fn is_listening(&self) -> bool {
        self.0.state().phase == Phase::Listening
    }

    fn option(&self, level: u32, number: u32) -> Option<Result<Value>> {
        match number {
            _ if level != net::SOL_SOCKET => None,
            net::SO_PASSCRED => {
                let passes = u32::from(self.0.pass_credentials.load(Ordering::Relaxed));
                Some(Ok(value(&passes.to_ne_bytes())))
            }
            net::SO_PEEK_OFF => {
                let offset = self.0.state().peek_offset;
                Some(Ok(value(&offset.to_ne_bytes())))
            }
            net::SO_PEERCRED => {
                let peer = self.0.state().peer_credentials.unwrap_or(Sender::NOBODY);
                Some(Ok(value(peer.as_bytes())))
            }
            _ => None,
        }
    }

    fn set_option(&self, level: u32, number: u32, value: &[u8]) -> Option<Result<()>> {
        match number {
            _ if level != net::SOL_SOCKET => None,
            net::SO_PASSCRED => Some(options::number(value).map(|passes| {
                self.0.pass_credentials.store(passes != 0, Ordering::Relaxed);
            })),
            net::SO_PEEK_OFF => Some(options::number(value).map(|offset| {
                self.0.state().peek_offset = offset as i32;
            })),
            _ => None,
        }
    }

    fn send_buffer_changed(&self) {
        self.0.tell_senders();
    }

    fn readable(&self) -> Result {
        let state = self.0.state();
        match self.0.kind {
            _ if state.phase == Phase::Listening => Err(Errno::EINVAL),
            Kind::Datagram => Ok(state.messages.front().map_or(0, |message| message.left)),
            _ => Ok(state.readable),
        }
    }

    fn unread(&self) -> Result {
        if self.is_listening() { Err(Errno::EINVAL) } else { Ok(self.0.charged()) }
    }

    fn events(&self) -> Events {
        events::events(&self.0)
    }

    fn queue(&self) -> &WaitQueue {
        &self.0.polled
    }

    fn kernel_memory(&self) -> usize {
        self.0.queued()
    }

    fn holder(&self) -> Option<Arc<dyn Holder>> {
        Some(self.0.clone())
    }
}

impl UnixSocket {
    /// Its address, which is that of who has no name if it has none.
    fn address(&self) -> Address {
        self.state().name.as_ref().map_or_else(name::nameless, |name| name.address())
    }
}
