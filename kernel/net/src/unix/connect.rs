// SPDX-License-Identifier: MIT OR Apache-2.0
//! How sockets come to be connected: pairs; one that listens, and those that connect to it, which wait while its backlog is full;
//! datagram sockets, of which one has chosen where its messages go.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use linux_raw_sys::net::AF_UNSPEC;

use super::{
    close::{close_unaccepted, leave},
    name::Name,
    names,
    socket::{Kind, Phase, State, UnixSocket},
};
use crate::{
    address::Address,
    errno::{Errno, Result},
    patience::Patience,
    sched::spans,
    socket::{Sender, direction},
};

/// Two sockets that are connected with each other.
pub(super) fn pair(kind: Kind) -> Result<[Arc<UnixSocket>; 2]> {
    let both = [UnixSocket::new(kind)?, UnixSocket::new(kind)?];
    let [first, second] = &both;
    let credentials = Sender::effective();
    for (socket, peer) in [(first, second), (second, first)] {
        let mut state = socket.state();
        if kind == Kind::Datagram {
            state.join()?;
        }
        state.peer = Some(peer.clone());
        state.phase = Phase::Connected;
        state.peer_credentials = Some(credentials);
    }
    Ok(both)
}

/// Whether a socket is for connections.
fn check_connections(socket: &UnixSocket) -> Result<()> {
    if socket.kind == Kind::Datagram { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

/// Lets others connect.
///
/// # Errors
/// EINVAL if it has no name, or is connected.
pub(super) fn listen(socket: &UnixSocket, backlog: usize) -> Result<()> {
    check_connections(socket)?;
    {
        let mut state = socket.state();
        if state.name.is_none() || state.phase == Phase::Connected {
            return Err(Errno::EINVAL);
        }
        state.phase = Phase::Listening;
        state.backlog_limit = backlog;
        state.peer_credentials = Some(Sender::effective());
    }
    socket.room.wake_all();
    socket.polled.wake_all();
    Ok(())
}

/// Takes the next connection.
///
/// # Errors
/// EINVAL if it does not listen, or receives no more; those of waiting.
pub(super) fn accept(socket: &UnixSocket, no_wait: bool) -> Result<Arc<UnixSocket>> {
    check_connections(socket)?;
    let mut patience = Patience::new(no_wait, socket.common.receive_timeout.load(Ordering::Relaxed));
    let (connection, was_full) = patience.wait(&socket.receivable, || {
        let mut state = socket.state();
        if state.phase != Phase::Listening {
            return Some(Err(Errno::EINVAL));
        }
        let was_full = state.is_backlog_full();
        match state.backlog.pop_front() {
            Some(connection) => Some(Ok((connection, was_full))),
            None => state.has_ended(direction::RECEIVE).then_some(Err(Errno::EINVAL)),
        }
    })?;
    if was_full {
        socket.room.wake_all();
    }
    connection.pass_credentials.store(socket.pass_credentials.load(Ordering::Relaxed), Ordering::Relaxed);
    Ok(connection)
}

/// Whether a socket may be connected.
fn check_idle(state: &State) -> Result<()> {
    match state.phase {
        Phase::Idle => Ok(()),
        Phase::Connected => Err(Errno::EISCONN),
        Phase::Listening => Err(Errno::EINVAL),
    }
}

/// Connects a socket.
///
/// # Errors
/// ECONNREFUSED if nobody listens there, EISCONN, EINVAL, EPERM for a datagram socket that is connected elsewhere; EAGAIN if the backlog is full
/// and it must not wait; those of finding the name.
pub(super) fn connect(socket: &Arc<UnixSocket>, address: &Address, no_wait: bool) -> Result<()> {
    if socket.kind == Kind::Datagram {
        return connect_datagrams(socket, address);
    }
    let name = Name::of(address)?;
    find_name_for_replies(socket)?;
    let connection = UnixSocket::new(socket.kind)?;
    let mut patience = Patience::new(no_wait, socket.common.send_timeout.load(Ordering::Relaxed));
    let listener = names::find(&name, socket.kind)?;
    patience.wait(&listener.room, || arrive(&listener))?;
    let result = join(socket, &listener, &connection);
    let lost = {
        let mut state = listener.state();
        state.arriving = state.arriving.saturating_sub(1);
        if result.is_ok() && !state.is_closed {
            state.backlog.push_back(connection);
            None
        } else {
            Some(connection)
        }
    };
    if let Err(error) = result {
        // Somebody else may have the place.
        listener.room.wake_all();
        return Err(error);
    }
    if let Some(connection) = lost {
        // As if the listener had been closed right after that.
        close_unaccepted(connection);
    }
    listener.tell_receivers();
    socket.polled.wake_all();
    Ok(())
}

/// Takes a place in a listener's backlog; none if that is full.
fn arrive(listener: &UnixSocket) -> Option<Result<()>> {
    let mut state = listener.state();
    if state.phase != Phase::Listening || state.has_ended(direction::RECEIVE) || state.is_closed {
        return Some(Err(Errno::ECONNREFUSED));
    }
    if state.is_backlog_full() {
        return None;
    }
    let more = state.arriving + 1;
    if state.backlog.try_reserve(more).is_err() {
        return Some(Err(Errno::ENOMEM));
    }
    state.arriving += 1;
    Some(Ok(()))
}

/// Makes both sides of a connection know each other.
fn join(socket: &Arc<UnixSocket>, listener: &UnixSocket, connection: &Arc<UnixSocket>) -> Result<()> {
    let (name, bound_path, credentials) = {
        let state = listener.state();
        (state.name.clone(), state.bound_path.clone(), state.peer_credentials)
    };
    {
        let mut state = connection.state();
        state.phase = Phase::Connected;
        state.peer = Some(socket.clone());
        state.name = name;
        state.bound_path = bound_path;
        state.peer_credentials = Some(Sender::effective());
    }
    let result = {
        let mut state = socket.state();
        check_idle(&state).map(|()| {
            state.phase = Phase::Connected;
            state.peer = Some(connection.clone());
            state.peer_credentials = credentials;
        })
    };
    if result.is_err() {
        connection.state().peer = None;
    }
    result
}

/// Who wants to know senders is to be known, too: it gets a name unless it has one.
pub(super) fn find_name_for_replies(socket: &Arc<UnixSocket>) -> Result<()> {
    if socket.pass_credentials.load(Ordering::Relaxed) { names::find_name(socket) } else { Ok(()) }
}

/// Whether `from` may send datagrams to the socket with this state: not if that is connected with another.
pub(super) fn may_send(from: &Arc<UnixSocket>, to: &State) -> Result<()> {
    if to.peer.is_none() || to.has_peer(from) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Chooses where a socket's datagrams go, and from whom it takes some; AF_UNSPEC for everywhere and from everybody.
fn connect_datagrams(socket: &Arc<UnixSocket>, address: &Address) -> Result<()> {
    let new = match address.family() {
        None => return Err(Errno::EINVAL),
        Some(AF_UNSPEC) => None,
        Some(_) => {
            let name = Name::of(address)?;
            find_name_for_replies(socket)?;
            let peer = names::find(&name, socket.kind)?;
            let mut state = peer.state();
            may_send(socket, &state)?;
            state.join()?;
            drop(state);
            Some(peer)
        }
    };
    let old = {
        let mut state = socket.state();
        state.phase = if new.is_some() { Phase::Connected } else { Phase::Idle };
        core::mem::replace(&mut state.peer, new.clone())
    };
    if let Some(old) = old {
        leave(&old);
        if !new.is_some_and(|new| Arc::ptr_eq(&new, &old)) {
            disconnected(socket, &old);
        }
    }
    socket.polled.wake_all();
    Ok(())
}

/// A datagram socket has left its peer: what it has got from there is dropped, and a peer that sends to it is told.
pub(super) fn disconnected(socket: &Arc<UnixSocket>, old: &Arc<UnixSocket>) {
    while let Some(message) = { socket.take_last(&mut socket.state()) } {
        drop(message);
        if spans::point() {
            // Others may go on sending. The rest goes when it is closed.
            break;
        }
    }
    socket.tell_of_room();
    let is_told = {
        let mut state = old.state();
        let is_told = !state.is_closed && state.has_peer(socket);
        if is_told {
            state.error = Some(Errno::ECONNRESET);
        }
        is_told
    };
    if is_told {
        old.receivable.wake_all();
        old.polled.wake_all();
        old.sendable.wake_all();
    }
}
