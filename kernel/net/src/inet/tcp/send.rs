// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending. A buffer is filled from the program's memory with nothing locked, and then put into the other end's inbox.

use core::sync::atomic::Ordering;

use alloc::vec::Vec;

use exo_core::thread::signal_self;
use linux_raw_sys::general::SIGPIPE;

use super::{
    buffers::{self, LARGE, SMALL},
    inbox::Segment,
    link::{End, Half},
    socket::{Phase, TcpSocket},
};
use crate::{
    errno::{Errno, Result},
    io_buf::IoSource,
    patience::Patience,
    sched::spans,
    socket::{How, direction},
};

/// Bytes that are copied between two preemption points.
const STEP: usize = 16 << 10;

/// Sends bytes; how many.
///
/// # Errors
/// The error that the other end left, EPIPE with its signal; those of waiting and of copying.
pub(super) fn send(socket: &TcpSocket, how: How, from: &mut IoSource<'_>) -> Result {
    // There is no urgent data here.
    if how.out_of_band {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut patience = Patience::new(how.no_wait, socket.common.send_timeout());
    let mut done = 0;
    let result = end(socket, &mut patience).and_then(|end| send_all(&end, &mut patience, from, &mut done));
    match result {
        Err(Errno::EPIPE) if done == 0 => {
            if !how.no_signal {
                signal_self(SIGPIPE);
            }
            Err(Errno::EPIPE)
        }
        Err(error) if done == 0 => Err(error),
        _ => Ok(done),
    }
}

/// Its end of the connection, which is waited for.
fn end(socket: &TcpSocket, patience: &mut Patience) -> Result<End> {
    patience.wait(&socket.waits.sendable, || {
        let mut state = socket.state();
        match &state.phase {
            Phase::Connected(end) => Some(Ok(end.clone())),
            Phase::Connecting(_) | Phase::Reaching(_) => None,
            _ => Some(Err(state.error.take().unwrap_or(Errno::EPIPE))),
        }
    })
}

/// The error that is to be reported before anything is sent.
fn check(own: &mut Half) -> Result<()> {
    match own.error.take() {
        Some(error) => Err(error),
        None if own.ended & direction::SEND != 0 || own.has_finished => Err(Errno::EPIPE),
        None => Ok(()),
    }
}

fn send_all(end: &End, patience: &mut Patience, from: &mut IoSource<'_>, done: &mut usize) -> Result<()> {
    if from.is_empty() {
        return end.with(|own, _| check(own));
    }
    loop {
        let count = from.left().min(LARGE);
        let spare = if count <= SMALL { end.with(|_, peer| peer.inbox.take_spare()) } else { Vec::new() };
        let segment = filled(spare, count, from)?;
        deliver(end, patience, segment)?;
        *done += count;
        if from.is_empty() || spans::point() {
            return Ok(());
        }
    }
}

/// The next `count` bytes of `from`.
fn filled(spare: Vec<u8>, count: usize, from: &mut IoSource<'_>) -> Result<Segment> {
    let mut buffer = if spare.len() >= count { spare } else { buffers::take(count)? };
    let bytes = buffer.get_mut(..count).unwrap_or_default();
    for (index, step) in bytes.chunks_mut(STEP).enumerate() {
        // Who is to end does so after the call.
        let _ = index > 0 && spans::point();
        from.take_all(step)?;
    }
    Ok(Segment { buffer, start: 0, end: count })
}

/// What became of an attempt to deliver.
enum Attempt {
    Done(Option<Segment>),
    /// It was answered with the end of the connection.
    Refused,
    /// There is no room.
    Full(Segment),
    Failed(Errno, Segment),
}

fn attempt(end: &End, segment: Segment) -> Attempt {
    end.with(|own, peer| {
        if let Err(error) = check(own) {
            return Attempt::Failed(error, segment);
        }
        if peer.is_closed || peer.has_finished && peer.ended & direction::RECEIVE != 0 {
            End::refuse(peer, own);
            return Attempt::Refused;
        }
        if peer.is_full() {
            return Attempt::Full(segment);
        }
        match peer.inbox.add(segment) {
            Ok(left) => {
                end.peer_waits().queued.store(peer.inbox.cost, Ordering::Relaxed);
                Attempt::Done(left)
            }
            Err(segment) => Attempt::Failed(Errno::ENOMEM, segment),
        }
    })
}

/// Puts a segment into the other end's inbox, for which it waits until there is room.
fn deliver(end: &End, patience: &mut Patience, segment: Segment) -> Result<()> {
    let mut next = Some(segment);
    let mut step = || {
        let segment = next.take()?;
        match attempt(end, segment) {
            Attempt::Done(left) => {
                end.peer_waits().tell_receivers();
                if let Some(left) = left {
                    buffers::give_back(left.buffer);
                }
                Some(Ok(()))
            }
            Attempt::Refused => {
                end.peer_waits().tell_all();
                end.waits().tell_all();
                Some(Ok(()))
            }
            Attempt::Full(segment) => {
                next = Some(segment);
                None
            }
            Attempt::Failed(error, segment) => {
                buffers::give_back(segment.buffer);
                Some(Err(error))
            }
        }
    };
    if let Some(result) = step() {
        return result;
    }
    let result = patience.wait(&end.waits().sendable, step);
    if let Some(segment) = next {
        buffers::give_back(segment.buffer);
    }
    result
}
