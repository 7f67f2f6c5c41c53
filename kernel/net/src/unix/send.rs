// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending. A message is filled from the program's memory with nothing locked, and then put into the receiver's queue.

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_core::thread::signal_self;
use linux_raw_sys::general::SIGPIPE;

use super::{
    close::leave,
    connect::{disconnected, find_name_for_replies, may_send},
    in_flight::InFlight,
    name::Name,
    names,
    socket::{Charge, Kind, Message, Phase, UnixSocket},
};
use crate::{
    errno::{Errno, Result},
    fallible,
    io_buf::IoSource,
    patience::Patience,
    sched::spans,
    socket::{How, Outgoing, Sender, direction},
};

/// Bytes of a stream that become one message.
const PIECE: usize = 32 << 10;
/// Bytes that are copied between two preemption points.
const STEP: usize = 16 << 10;
/// Linux counts this much of a message's room for itself.
const OVERHEAD: usize = 32;

/// Sends a message, or bytes of a stream.
///
/// # Errors
/// ENOTCONN, EISCONN, EPIPE, ECONNREFUSED, EMSGSIZE and the like, as on Linux; those of waiting and of copying.
pub(super) fn send(socket: &Arc<UnixSocket>, outgoing: Outgoing<'_>, from: &mut IoSource<'_>) -> Result {
    if outgoing.how.out_of_band {
        return Err(Errno::EOPNOTSUPP);
    }
    if socket.kind == Kind::Stream {
        send_stream(socket, outgoing, from)
    } else {
        send_message(socket, outgoing, from)
    }
}

/// The next bytes of `from`, for a message.
fn filled(length: usize, from: &mut IoSource<'_>) -> Result<Vec<u8>> {
    let mut bytes: Vec<u8> = fallible::list(length)?;
    while bytes.len() < length {
        let start = bytes.len();
        bytes.resize(length.min(start + STEP), 0);
        from.take_all(bytes.get_mut(start..).unwrap_or_default())?;
        if bytes.len() < length {
            // Who is to end is not served: the message has not been sent.
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
    }
    Ok(bytes)
}

#[inline]
fn message(bytes: Vec<u8>, sender: Option<Sender>, files: Option<Box<InFlight>>, charge: Charge) -> Message {
    let sender = sender.unwrap_or_else(Sender::real);
    Message { left: bytes.len(), bytes, start: 0, sender, files, was_peeked: false, charge }
}

/// Nobody receives what is sent through a stream.
fn broken(how: How) -> Errno {
    if !how.no_signal {
        signal_self(SIGPIPE);
    }
    Errno::EPIPE
}

fn patience(socket: &UnixSocket, how: How) -> Patience {
    Patience::new(how.no_wait, socket.common.send_timeout.load(Ordering::Relaxed))
}

/// Waits until the socket may have another message on its way.
#[inline]
fn charge(socket: &Arc<UnixSocket>, patience: &mut Patience, length: usize) -> Result<Charge> {
    if let Some(charge) = socket.charge(length) {
        return Ok(charge);
    }
    patience.wait(&socket.sendable, || {
        if let Err(error) = check_open(socket) {
            return Some(Err(error));
        }
        socket.charge(length).map(Ok)
    })
}

/// The error that is to be reported; EPIPE if the socket sends no more.
fn check_open(socket: &UnixSocket) -> Result<()> {
    let mut state = socket.state();
    match state.error.take() {
        Some(error) => Err(error),
        None if state.has_ended(direction::SEND) => Err(Errno::EPIPE),
        None => Ok(()),
    }
}

fn send_stream(socket: &Arc<UnixSocket>, outgoing: Outgoing<'_>, from: &mut IoSource<'_>) -> Result {
    let Outgoing { how, to, files, sender } = outgoing;
    let mut files = InFlight::new(files)?;
    let peer = {
        let state = socket.state();
        match &state.peer {
            _ if to.is_some() && state.phase == Phase::Connected => return Err(Errno::EISCONN),
            _ if to.is_some() => return Err(Errno::EOPNOTSUPP),
            None => return Err(Errno::ENOTCONN),
            Some(_) if state.has_ended(direction::SEND) => None,
            Some(peer) => Some(peer.clone()),
        }
    };
    let Some(peer) = peer else { return Err(broken(how)) };
    let mut patience = patience(socket, how);
    let (mut done, length) = (0, from.left());
    while done < length {
        let limit = (socket.common.send_buffer.load(Ordering::Relaxed) as usize / 2 - 64).min(PIECE);
        let count = limit.min(length - done);
        let error = match charge(socket, &mut patience, count) {
            // As on Linux without a signal, if the peer has gone while this one waited.
            Err(error) => error,
            Ok(charge) => {
                let delivered = filled(count, from).and_then(|bytes| {
                    let message = message(bytes, sender, files.take(), charge);
                    deliver(&peer, message)
                });
                match delivered {
                    Ok(()) => {
                        done += count;
                        if done < length && spans::point() {
                            break;
                        }
                        continue;
                    }
                    Err(Errno::EPIPE) if done == 0 => broken(how),
                    Err(error) => error,
                }
            }
        };
        if done == 0 {
            return Err(error);
        }
        break;
    }
    Ok(done)
}

/// Puts a message into the peer's queue; EPIPE if that receives no more.
#[inline]
fn deliver(to: &UnixSocket, message: Message) -> Result<()> {
    let added = {
        let mut state = to.state();
        if state.has_ended(direction::RECEIVE) {
            Err((Errno::EPIPE, message))
        } else {
            to.add(&mut state, message).map_err(|message| (Errno::ENOMEM, message))
        }
    };
    // Files of what was not taken are closed without the lock.
    added.map_err(|(error, _message)| error)?;
    to.tell_receivers();
    Ok(())
}

/// What became of an attempt to put a datagram into a queue.
enum Attempt {
    Done,
    /// The receiver is closed.
    Gone,
    /// There is no room.
    Full,
    Failed(Errno),
}

fn send_message(socket: &Arc<UnixSocket>, outgoing: Outgoing<'_>, from: &mut IoSource<'_>) -> Result {
    let Outgoing { how, to, files, sender } = outgoing;
    let length = from.left();
    let files = InFlight::new(files)?;
    // Packets go to the peer, whatever name is said.
    let to = to.filter(|_| socket.kind == Kind::Datagram).map(Name::of).transpose()?;
    if socket.kind == Kind::Packets {
        let mut state = socket.state();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if state.phase != Phase::Connected {
            return Err(Errno::ENOTCONN);
        }
    }
    if to.is_none() && socket.state().peer.is_none() {
        return Err(Errno::ENOTCONN);
    }
    find_name_for_replies(socket)?;
    let buffer = socket.common.send_buffer.load(Ordering::Relaxed) as usize;
    if length > buffer.saturating_sub(OVERHEAD) {
        return Err(Errno::EMSGSIZE);
    }
    check_open(socket)?;
    let mut patience = patience(socket, how);
    let charge = charge(socket, &mut patience, length)?;
    let bytes = filled(length, from)?;
    let mut message = Some(message(bytes, sender, files, charge));
    loop {
        let peer = match &to {
            Some(name) => names::find(name, socket.kind)?,
            None => socket.state().peer.clone().ok_or(Errno::ENOTCONN)?,
        };
        match attempt(socket, &peer, &mut message) {
            Attempt::Done => break,
            Attempt::Failed(error) => return Err(error),
            Attempt::Gone if socket.kind == Kind::Packets => return Err(Errno::EPIPE),
            Attempt::Gone => {
                if forget_peer(socket, &peer) {
                    return Err(Errno::ECONNREFUSED);
                }
            }
            Attempt::Full => patience.wait(&peer.room, || {
                let state = peer.state();
                let goes_on = !state.is_full() || state.is_closed || state.has_ended(direction::RECEIVE);
                goes_on.then_some(Ok(()))
            })?,
        }
    }
    Ok(length)
}

/// Puts a datagram into a queue, if it may go there and there is room. Those that are connected with each other need none.
fn attempt(socket: &Arc<UnixSocket>, peer: &Arc<UnixSocket>, message: &mut Option<Message>) -> Attempt {
    {
        let mut state = peer.state();
        if let Err(error) = may_send(socket, &state) {
            return Attempt::Failed(error);
        }
        if state.is_closed {
            return Attempt::Gone;
        }
        if state.has_ended(direction::RECEIVE) {
            return Attempt::Failed(Errno::EPIPE);
        }
        if state.is_full() && !state.has_peer(socket) && !Arc::ptr_eq(socket, peer) {
            return Attempt::Full;
        }
        if let Some(Err(untaken)) = message.take().map(|message| peer.add(&mut state, message)) {
            *message = Some(untaken);
            return Attempt::Failed(Errno::ENOMEM);
        }
    }
    peer.tell_receivers();
    Attempt::Done
}

/// A closed peer is a datagram socket's no more; false if it was not.
fn forget_peer(socket: &Arc<UnixSocket>, peer: &Arc<UnixSocket>) -> bool {
    let was_peer = {
        let mut state = socket.state();
        if state.has_peer(peer) {
            state.phase = Phase::Idle;
            state.peer.take()
        } else {
            None
        }
    };
    let Some(peer) = was_peer else { return false };
    leave(&peer);
    disconnected(socket, &peer);
    true
}
