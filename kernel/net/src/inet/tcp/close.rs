// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a socket, of a connection, and of an attempt to connect.

use alloc::sync::Arc;

use super::socket::{Backlog, Phase, TcpSocket};
use crate::{
    errno::Errno,
    sched::{spans, wait::Observer},
    socket::direction,
};

/// Closes a socket.
pub(super) fn close(socket: &Arc<TcpSocket>) {
    leave(socket, socket.settings.breaks_off());
}

/// Closes a connection that nobody has accepted.
pub(super) fn close_unaccepted(connection: &Arc<TcpSocket>) {
    leave(connection, true);
}

/// Ends a connection, an attempt or listening; the socket may be used again, where it was bound if the program has chosen that.
pub(super) fn disconnect(socket: &Arc<TcpSocket>) {
    let was_connected = leave(socket, true);
    if was_connected {
        socket.state().error = Some(Errno::ECONNRESET);
    }
    socket.waits.tell_all();
}

/// Takes a socket out of whatever it is in; whether it was connected.
fn leave(socket: &Arc<TcpSocket>, breaks_off: bool) -> bool {
    let (phase, claim, kept) = {
        let mut state = socket.state();
        let phase = core::mem::replace(&mut state.phase, Phase::Idle);
        state.is_unannounced = false;
        state.ended = 0;
        if state.is_bound {
            (phase, None, state.claim.clone())
        } else {
            state.local = None;
            (phase, state.claim.take(), None)
        }
    };
    match phase {
        Phase::Idle => false,
        Phase::Reaching(mark) => {
            // The thread sees it.
            if let Some(mark) = mark {
                mark.changed();
            }
            false
        }
        Phase::Listening(backlog) => {
            if let Some(claim) = kept.as_ref().or(claim.as_ref()) {
                claim.listen_no_more();
            }
            socket.waits.tell_all();
            end_backlog(backlog);
            false
        }
        Phase::Connecting(listener) => {
            let mut state = listener.state();
            if let Phase::Listening(backlog) = &mut state.phase {
                // They are at most as many as may wait. This is not the last reference.
                backlog.waiting.retain(|waiting| !Arc::ptr_eq(waiting, socket));
            }
            false
        }
        Phase::Connected(end) => {
            let was_over = end.with(|own, _| own.is_over());
            end.close(breaks_off);
            !was_over
        }
    }
}

fn end_backlog(backlog: Backlog) {
    for connection in backlog.connections {
        close_unaccepted(&connection);
        // All of them, also when the task is to end.
        let _ = spans::point();
    }
    for client in backlog.waiting {
        refuse(&client, Errno::ECONNREFUSED);
        let _ = spans::point();
    }
}

/// An attempt to connect has failed.
pub(super) fn refuse(client: &TcpSocket, error: Errno) {
    let _dropped = {
        let mut state = client.state();
        match &state.phase {
            Phase::Idle | Phase::Connecting(_) | Phase::Reaching(_) => {}
            _ => return,
        }
        state.error = Some(error);
        state.ended = direction::BOTH;
        let claim = if state.is_bound {
            None
        } else {
            state.local = None;
            state.claim.take()
        };
        (core::mem::replace(&mut state.phase, Phase::Idle), claim)
    };
    client.waits.tell_all();
}
