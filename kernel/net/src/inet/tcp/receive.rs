// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receiving. Who reads takes a segment out of the inbox, copies its bytes with nothing locked, and puts back what is left; others who want to
//! read wait meanwhile, so that bytes stay in order.

use core::sync::atomic::Ordering;

use super::{
    buffers,
    inbox::Segment,
    link::{End, Half},
    socket::{Phase, TcpSocket},
};
use crate::{
    errno::{Errno, Result},
    io_buf::IoBuf,
    patience::Patience,
    sched::spans,
    socket::{How, direction},
};

/// Bytes that are copied between two preemption points.
const STEP: usize = 16 << 10;

/// Receives as many bytes as `to` has room for; how many. At the end 0.
///
/// # Errors
/// ENOTCONN, EINVAL for urgent data, the error that the other end left; those of waiting and of copying.
pub(super) fn receive(socket: &TcpSocket, how: How, to: &mut IoBuf<'_>) -> Result {
    if how.out_of_band {
        return Err(Errno::EINVAL);
    }
    let mut patience = Patience::new(how.no_wait, socket.common.receive_timeout());
    match end(socket, &mut patience)? {
        Some(end) => {
            // So many bytes are waited for.
            let target = if how.wait_all { to.left() } else { socket.receive_low().min(to.left()) };
            let mut reader = Reader { end: &end, how, target, done: 0 };
            let result = reader.read(&mut patience, to);
            if reader.done > 0 { Ok(reader.done) } else { result.map(|()| 0) }
        }
        None => Ok(0),
    }
}

/// Its end of the connection, which is waited for; none if nothing will ever come.
fn end(socket: &TcpSocket, patience: &mut Patience) -> Result<Option<End>> {
    patience.wait(&socket.waits.receivable, || {
        let mut state = socket.state();
        match &state.phase {
            Phase::Connected(end) => return Some(Ok(Some(end.clone()))),
            Phase::Connecting(_) | Phase::Reaching(_) => return None,
            Phase::Listening(_) => return Some(Err(Errno::ENOTCONN)),
            Phase::Idle => {}
        }
        Some(match state.error.take() {
            Some(error) => Err(error),
            None if state.ended & direction::RECEIVE != 0 => Ok(None),
            None => Err(Errno::ENOTCONN),
        })
    })
}

/// One call that receives.
struct Reader<'a> {
    end: &'a End,
    how: How,
    target: usize,
    done: usize,
}

impl Reader<'_> {
    /// Begins to read the first segment, or says what there is instead: none is the end. With bytes in hand an error is left for the next call.
    fn begin(&self, own: &mut Half) -> Option<Result<Option<Segment>>> {
        if own.inbox.is_read {
            own.inbox.others_read = true;
            return None;
        }
        if let Some(lent) = own.inbox.lend(0) {
            own.inbox.is_read = true;
            return Some(Ok(Some(lent)));
        }
        // As on Linux: who was told that the end has come hears of nothing else.
        if own.is_finished {
            return Some(Ok(None));
        }
        if let Some(error) = own.error.take_if(|_| self.done == 0) {
            return Some(Err(error));
        }
        let is_end = own.error.is_some() || own.ended & direction::RECEIVE != 0;
        is_end.then_some(Ok(None))
    }

    /// Ends a turn of reading; whether others are to be told.
    fn finish(own: &mut Half) -> bool {
        own.inbox.is_read = false;
        core::mem::take(&mut own.inbox.others_read)
    }

    fn tell_others(&self, others: bool) {
        if others {
            self.end.waits().receivable.wake_all();
        }
    }

    fn read(&mut self, patience: &mut Patience, to: &mut IoBuf<'_>) -> Result<()> {
        // Of what is looked at, which segment is next.
        let mut index = 0;
        let mut next: Option<Segment> = None;
        loop {
            // As on Linux, who has room for nothing waits, too.
            let lent = match next.take() {
                Some(lent) => lent,
                None => {
                    let end = self.end;
                    let begin = || end.with(|own, _| self.begin(own));
                    match patience.wait(&end.waits().receivable, begin)? {
                        Some(lent) => lent,
                        None => return Ok(()),
                    }
                }
            };
            let count = lent.left().min(to.left());
            let copied = self.copy(lent.bytes().get(..count).unwrap_or_default(), to);
            if let Err(error) = copied {
                let others = self.end.with(|own, _| {
                    own.inbox.put_back(index, lent);
                    Self::finish(own)
                });
                self.tell_others(others);
                return Err(error);
            }
            self.done += count;
            let goes_on = !to.is_empty();
            if self.how.peek {
                let others = self.end.with(|own, _| {
                    own.inbox.put_back(index, lent);
                    index += 1;
                    next = if goes_on { own.inbox.lend(index) } else { None };
                    next.is_none() && Self::finish(own)
                });
                self.tell_others(others);
                if next.is_none() {
                    return Ok(());
                }
                continue;
            }
            next = self.consume(lent, count, goes_on);
            if !goes_on || next.is_none() && self.done >= self.target {
                return Ok(());
            }
        }
    }

    fn copy(&self, bytes: &[u8], to: &mut IoBuf<'_>) -> Result<()> {
        for (index, step) in bytes.chunks(STEP).enumerate() {
            // Who is to end does so after the call.
            let _ = index > 0 && spans::point();
            if self.how.discard {
                to.skip(step.len());
            } else {
                to.put_all(step)?;
            }
        }
        Ok(())
    }

    /// `count` bytes of the first segment were read. Then comes the next, if the reader goes on and there is one, or its turn ends.
    fn consume(&self, lent: Segment, count: usize, goes_on: bool) -> Option<Segment> {
        let (done, next, others, is_room) = self.end.with(|own, _| {
            let had_room = own.has_room();
            let done = own.inbox.consume(lent, count);
            self.end.waits().queued.store(own.inbox.cost, Ordering::Relaxed);
            let next = if goes_on { own.inbox.lend(0) } else { None };
            let others = next.is_none() && Self::finish(own);
            (done, next, others, !had_room && own.has_room())
        });
        if is_room {
            self.end.peer_waits().tell_senders();
        }
        self.tell_others(others);
        if let Some(done) = done {
            buffers::give_back(done.buffer);
        }
        next
    }
}
