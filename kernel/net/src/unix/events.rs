// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is possible on a socket, as poll tells it.

use alloc::sync::Arc;

use exo_vfs::events::Events;

use super::socket::{Kind, Phase, UnixSocket};
use crate::socket::direction;

/// What is possible now. Who is told that there is no room at its peer is told when there is.
pub(super) fn events(socket: &Arc<UnixSocket>) -> Events {
    let mut events = Events::empty();
    let (phase, peer) = {
        let state = socket.state();
        let has_ended = state.has_ended(direction::RECEIVE);
        events.set(Events::IN, has_ended || !state.messages.is_empty() || !state.backlog.is_empty());
        events.set(Events::RDHUP, has_ended);
        events.set(Events::ERR, state.error.is_some());
        let is_off = socket.kind != Kind::Datagram && state.phase == Phase::Idle;
        events.set(Events::HUP, is_off || state.ended == direction::BOTH);
        let peer = state.peer.clone().filter(|_| socket.kind == Kind::Datagram);
        (state.phase, peer)
    };
    let may_send = phase != Phase::Listening && socket.is_writable();
    events.set(Events::OUT, may_send && peer.is_none_or(|peer| has_room(socket, &peer)));
    events
}

/// Whether a datagram socket's peer has room for another message.
fn has_room(socket: &Arc<UnixSocket>, peer: &Arc<UnixSocket>) -> bool {
    let mut state = peer.state();
    if !state.is_full() || state.has_peer(socket) || state.is_closed {
        return true;
    }
    let is_own = |asks: &alloc::sync::Weak<UnixSocket>| core::ptr::eq(asks.as_ptr(), Arc::as_ptr(socket));
    // There is a place for it, unless it has left the peer meanwhile.
    if !state.wants_room.iter().any(is_own) && state.wants_room.len() < state.wants_room.capacity() {
        state.wants_room.push(Arc::downgrade(socket));
    }
    false
}
