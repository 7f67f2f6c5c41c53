// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is possible on a socket, as poll tells it.

use exo_vfs::events::Events;

use super::socket::{Phase, TcpSocket};
use crate::socket::direction;

/// What is possible now.
pub(super) fn events(socket: &TcpSocket) -> Events {
    let mut events = Events::empty();
    let end = {
        let state = socket.state();
        match &state.phase {
            Phase::Connected(end) => end.clone(),
            Phase::Listening(backlog) => {
                events.set(Events::IN, !backlog.connections.is_empty());
                return events;
            }
            Phase::Connecting(_) | Phase::Reaching(_) => return events,
            Phase::Idle => {
                let has_ended = state.ended & direction::RECEIVE != 0;
                events.insert(Events::HUP | Events::OUT);
                events.set(Events::IN | Events::RDHUP, has_ended);
                events.set(Events::ERR, state.error.is_some());
                return events;
            }
        }
    };
    end.with(|own, peer| {
        let has_ended = own.ended & direction::RECEIVE != 0;
        events.set(Events::IN, has_ended || own.inbox.readable >= socket.receive_low());
        events.set(Events::RDHUP, has_ended);
        events.set(Events::HUP, own.ended == direction::BOTH || own.is_over());
        events.set(Events::OUT, own.ended & direction::SEND != 0 || peer.has_room());
        events.set(Events::ERR, own.error.is_some());
    });
    events
}
