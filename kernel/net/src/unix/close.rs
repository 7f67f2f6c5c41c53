// SPDX-License-Identifier: MIT OR Apache-2.0
//! Closing a socket: whoever is connected with it is told, and what nobody has read is dropped, files that were on their way included.
//!
//! Such a file may be a socket itself, with others on their way to it, and so on. They are not closed one in the other, which would take a
//! stack as deep as the program likes, but one after the other by the thread that closed the first.

use alloc::sync::Arc;

use arrayvec::ArrayVec;
use exo_core::thread::running;
use exo_hal::sync::SpinLock;

use super::{
    garbage, names,
    socket::{Kind, Phase, UnixSocket},
};
use crate::{errno::Errno, sched::spans, socket::direction};

/// Most threads that drop messages at the same time, each with a list of its own.
const THREADS: usize = 16;

/// A thread that drops messages, and the sockets whose are next.
struct Dropper {
    thread: usize,
    next: Option<Arc<UnixSocket>>,
}

static DROPPERS: SpinLock<ArrayVec<Dropper, THREADS>> = SpinLock::new(ArrayVec::new_const());

/// Closes a socket.
pub(super) fn close(socket: &Arc<UnixSocket>) {
    disconnect(socket, false);
    if drop_messages(socket.clone()) {
        garbage::note();
    }
}

/// Everything about closing but the messages.
fn disconnect(socket: &Arc<UnixSocket>, was_never_accepted: bool) {
    names::forget(socket);
    let (peer, backlog, is_unread) = {
        let mut state = socket.state();
        state.is_closed = true;
        state.ended = direction::BOTH;
        state.phase = Phase::Idle;
        (state.peer.take(), core::mem::take(&mut state.backlog), !state.messages.is_empty())
    };
    socket.tell_all();
    match peer {
        Some(peer) if socket.kind == Kind::Datagram => leave(&peer),
        Some(peer) => {
            {
                let mut state = peer.state();
                state.ended = direction::BOTH;
                if is_unread || was_never_accepted {
                    state.error = Some(Errno::ECONNRESET);
                }
            }
            peer.tell_all();
        }
        None => {}
    }
    for connection in backlog {
        close_unaccepted(connection);
        let _ = spans::point();
    }
}

/// Closes a connection that nobody has accepted.
pub(super) fn close_unaccepted(connection: Arc<UnixSocket>) {
    disconnect(&connection, true);
    drop_messages(connection);
}

/// A datagram socket is connected to `peer` no more.
pub(super) fn leave(peer: &UnixSocket) {
    let mut state = peer.state();
    state.senders = state.senders.saturating_sub(1);
}

/// Drops a closed socket's messages; false if that is left to somebody who is doing so.
fn drop_messages(socket: Arc<UnixSocket>) -> bool {
    if socket.state().messages.is_empty() {
        return !is_dropping();
    }
    let thread = own_number();
    {
        let mut droppers = DROPPERS.lock();
        let is_own = |dropper: &&mut Dropper| dropper.thread == thread;
        let is_full = droppers.is_full();
        let taken = match droppers.iter_mut().find(is_own) {
            Some(own) => Some(own),
            None if is_full => droppers.first_mut(),
            None => None,
        };
        if let Some(dropper) = taken {
            let next = dropper.next.replace(socket.clone());
            *socket.next_closed.lock() = next;
            return false;
        }
        droppers.push(Dropper { thread, next: None });
    }
    let mut next = Some(socket);
    while let Some(socket) = next.take().or_else(|| take_next(thread)) {
        while let Some(message) = { socket.take_first(&mut socket.state()) } {
            drop(message);
            // All of them, also when the task is to end.
            let _ = spans::point();
        }
    }
    true
}

/// The next socket of a thread; with the last one it is a dropper no more.
fn take_next(thread: usize) -> Option<Arc<UnixSocket>> {
    let mut droppers = DROPPERS.lock();
    let index = droppers.iter().position(|dropper| dropper.thread == thread)?;
    let socket = droppers.get_mut(index)?.next.take();
    match &socket {
        Some(socket) => {
            let next = socket.next_closed.lock().take();
            if let Some(dropper) = droppers.get_mut(index) {
                dropper.next = next;
            }
        }
        None => {
            droppers.swap_remove(index);
        }
    }
    socket
}

fn own_number() -> usize {
    core::ptr::from_ref(&*running()).addr()
}

/// Whether the running thread drops messages of another socket.
fn is_dropping() -> bool {
    let thread = own_number();
    DROPPERS.lock().iter().any(|dropper| dropper.thread == thread)
}
