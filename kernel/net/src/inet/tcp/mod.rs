// SPDX-License-Identifier: MIT OR Apache-2.0
//! TCP between sockets of this machine, and with other machines by interfaces.
//!
//! ```text
//! Handle (what the open file has) ──▶ socket::TcpSocket ──▶ link::End, one of two of a connection ──▶ inbox::Inbox, its bytes
//!     connect: listeners, backlogs, connections      close: how they end
//!     send, receive, events                          buffers: memory for bytes on their way
//!     outside: connections with other machines       arrivals: listening for them
//! ```

mod arrivals;
mod buffers;
mod close;
mod connect;
mod events;
mod inbox;
mod info;
mod link;
mod mark;
mod outside;
mod receive;
mod send;
mod socket;
mod time_wait;

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, sync::Arc};

use exo_vfs::events::Events;
use linux_raw_sys::net;

use self::socket::{ALL, Phase, TcpSocket};
pub(super) use self::{
    arrivals::{completes, establish_called, opens},
    outside::mark,
};
use super::{
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
    socket::{How, Nature, Outgoing, Received, Socket, Told, Value},
};

/// What an open file has of a socket: it is closed with this.
struct Handle(Arc<TcpSocket>);

/// A socket.
///
/// # Errors
/// ENOMEM.
pub(super) fn create(family: Family) -> Result<Box<dyn Socket>> {
    handle(TcpSocket::new(family)?)
}

/// What is said of the next socket of a family behind a number; nothing of one that only is there.
pub(super) fn next_line(last: u64, family: Family) -> Option<(u64, Option<Line>)> {
    let (number, socket) = ALL.next_after(last)?;
    Some((number, socket.filter(|socket| socket.family == family).and_then(|socket| info::line(&socket))))
}

/// What is said of the next connection behind a number that is over and keeps its port.
pub(super) fn next_waiting_line(last: u64, family: Family) -> Option<(u64, Option<Line>)> {
    time_wait::next_line(last, family)
}

/// Moves bytes between programs and other machines where something has happened; whether something has.
pub(super) fn work() -> bool {
    outside::work()
}

fn handle(socket: Arc<TcpSocket>) -> Result<Box<dyn Socket>> {
    // Without memory for it, it is closed.
    Ok(fallible::boxed(Handle(socket))?)
}

impl Drop for Handle {
    fn drop(&mut self) {
        close::close(&self.0);
    }
}

impl Socket for Handle {
    fn nature(&self) -> Nature {
        let protocol = net::IPPROTO_TCP as u32;
        Nature { domain: self.0.family.number(), kind: net::SOCK_STREAM, protocol }
    }

    fn common(&self) -> &Common {
        &self.0.common
    }

    fn bind(&self, address: &Address, _mode: u32) -> Result<()> {
        connect::bind(&self.0, Endpoint::to_bind(address, self.0.family, self.0.settings.is_only_v6())?)
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        connect::listen(&self.0, backlog)
    }

    fn accept(&self, no_wait: bool) -> Result<Box<dyn Socket>> {
        handle(connect::accept(&self.0, no_wait)?)
    }

    fn connect(&self, address: &Address, no_wait: bool) -> Result<()> {
        connect::connect(&self.0, address, no_wait)
    }

    fn name(&self) -> Result<Address> {
        let family = self.0.family;
        let local = { self.0.state().local };
        local.unwrap_or(Endpoint::any(family)).address(family)
    }

    fn peer_name(&self) -> Result<Address> {
        let end = self.0.end().ok_or(Errno::ENOTCONN)?;
        if end.with(|own, _| own.is_over()) {
            return Err(Errno::ENOTCONN);
        }
        end.remote().address(self.0.family)
    }

    fn caller_name(&self) -> Result<Address> {
        self.0.end().ok_or(Errno::ENOTCONN)?.remote().address(self.0.family)
    }

    fn send(&self, outgoing: Outgoing<'_>, from: &mut IoSource<'_>) -> Result {
        // As on Linux, whatever address is said, and files are for Unix sockets.
        send::send(&self.0, outgoing.how, from)
    }

    fn receive(&self, how: How, to: &mut IoBuf<'_>) -> Result<Received> {
        let bytes = receive::receive(&self.0, how, to)?;
        Ok(Received { bytes, length: bytes, ..Received::default() })
    }

    fn receive_failed(&self, _how: How, _to: &mut IoBuf<'_>, _told: &mut Told) -> Option<Result<Received>> {
        // No error of a stream is told in a queue of its own.
        Some(Err(Errno::EAGAIN))
    }

    fn shutdown(&self, directions: u8) -> Result<()> {
        connect::shutdown(&self.0, directions)
    }

    fn take_error(&self) -> Option<Errno> {
        self.0.take_error()
    }

    fn keep_error(&self, error: Errno) {
        match self.0.end() {
            Some(end) => end.with(|own, _| own.error = Some(error)),
            None => self.0.state().error = Some(error),
        }
    }

    fn is_listening(&self) -> bool {
        matches!(self.0.state().phase, Phase::Listening(_))
    }

    fn option(&self, level: u32, number: u32) -> Option<Result<Value>> {
        info::option(&self.0, level, number).or_else(|| self.0.settings.get(level, number))
    }

    fn set_option(&self, level: u32, number: u32, value: &[u8]) -> Option<Result<()>> {
        let is_bound = || self.0.state().claim.is_some();
        let result = info::check_set(level, number, value, is_bound)
            .or_else(|| self.0.settings.set(level, number, value));
        self.0.waits.has_no_delay.store(self.0.settings.has_no_delay(), Ordering::Relaxed);
        result
    }

    fn send_buffer_changed(&self) {
        if let Some(end) = self.0.end() {
            let limit = self.0.send_limit();
            end.with(|_, peer| peer.send_limit = limit);
            self.0.waits.tell_senders();
        }
    }

    fn receive_buffer_changed(&self) {
        if let Some(end) = self.0.end() {
            let limit = self.0.receive_limit();
            end.with(|own, _| own.receive_limit = limit);
            end.peer_waits().tell_senders();
        }
    }

    fn readable(&self) -> Result {
        if self.is_listening() {
            return Err(Errno::EINVAL);
        }
        Ok(self.0.end().map_or(0, |end| end.with(|own, _| own.inbox.readable)))
    }

    fn unread(&self) -> Result {
        // What the other side has is acknowledged.
        if self.is_listening() { Err(Errno::EINVAL) } else { Ok(0) }
    }

    fn events(&self) -> Events {
        events::events(&self.0)
    }

    fn queue(&self) -> &WaitQueue {
        &self.0.waits.polled
    }

    fn kernel_memory(&self) -> usize {
        // Who holds the lock is about to change it: without waiting, what is told may be of a moment before or after.
        let waiting = self.0.try_state().map_or(0, |state| match &state.phase {
            Phase::Listening(backlog) => backlog.kernel_memory(),
            _ => 0,
        });
        self.0.waits.queued.load(Ordering::Relaxed) + waiting
    }
}
