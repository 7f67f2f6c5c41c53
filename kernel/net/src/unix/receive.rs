// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receiving. Who reads takes the bytes of a message out of the queue, copies them with nothing locked, and puts back what is left; others who
//! want to read wait meanwhile, so that bytes stay in order.

use core::sync::atomic::Ordering;

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_vfs::OpenFile;

use super::{
    in_flight::{InFlight, MOST_FILES},
    socket::{Kind, Message, Phase, State, UnixSocket},
};
use crate::{
    errno::{Errno, Result},
    fallible,
    io_buf::IoBuf,
    patience::Patience,
    sched::spans,
    socket::{How, Received, Sender, direction},
};

/// Bytes that are copied between two preemption points.
const STEP: usize = 16 << 10;
/// Messages that are passed between two preemption points.
const MESSAGES: usize = 256;

/// A message that is read.
struct Part {
    bytes: Vec<u8>,
    start: usize,
    sender: Sender,
    /// Its sender, if that is asked.
    from: Option<Arc<UnixSocket>>,
    has_files: bool,
}

impl Part {
    /// The message at a place in the queue, with the state locked.
    #[inline]
    fn take(state: &mut State, index: usize, how: How) -> Option<Self> {
        let message = state.messages.get_mut(index)?;
        message.was_peeked |= how.peek;
        Some(Self {
            bytes: core::mem::take(&mut message.bytes),
            start: message.start,
            sender: message.sender,
            from: how.wants_address.then(|| message.charge.sender.clone()),
            has_files: message.files.is_some(),
        })
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// What a call finds.
enum Found {
    /// The first message.
    Part(Part),
    /// Messages that a peek at an offset is to search; so many were ever added.
    Messages(u64),
    /// Nothing will come.
    End,
}

/// Copies bytes to the program.
fn copy_all(bytes: &[u8], to: &mut IoBuf<'_>) -> Result<()> {
    for (index, step) in bytes.chunks(STEP).enumerate() {
        // Who is to end does so after the call.
        let _ = index > 0 && spans::point();
        to.put_all(step)?;
    }
    Ok(())
}

/// Receives as many bytes as `to` has room for. At the end 0.
///
/// # Errors
/// EINVAL and ENOTCONN for what is not connected, the error that the peer left; those of waiting and of copying.
pub(super) fn receive(socket: &UnixSocket, how: How, to: &mut IoBuf<'_>) -> Result<Received> {
    if how.out_of_band {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut reader = Reader {
        socket,
        how,
        wants_sender: socket.pass_credentials.load(Ordering::Relaxed),
        patience: Patience::new(how.no_wait, socket.common.receive_timeout.load(Ordering::Relaxed)),
        received: Received::default(),
        index: 0,
        searched: None,
    };
    if socket.kind == Kind::Stream {
        reader.read_stream(to)?;
    } else {
        reader.read_message(to)?;
    }
    Ok(reader.received)
}

/// One call that receives.
struct Reader<'a> {
    socket: &'a UnixSocket,
    how: How,
    wants_sender: bool,
    patience: Patience,
    received: Received,
    /// The place in the queue of the message that is read.
    index: usize,
    /// A peek at an offset has passed all messages, when so many had been added.
    searched: Option<u64>,
}

impl Reader<'_> {
    /// Begins to read the first message, or says what there is instead. With bytes in hand an error is left for the next call.
    fn begin(&self) -> Option<Result<Found>> {
        let mut state = self.socket.state();
        let kind = self.socket.kind;
        if state.phase != Phase::Connected && kind != Kind::Datagram {
            return Some(Err(if kind == Kind::Stream { Errno::EINVAL } else { Errno::ENOTCONN }));
        }
        if state.is_read {
            state.others_read = true;
            return None;
        }
        // As on Linux: a stream's bytes come before an error, and whole messages after it.
        if let Some(error) = state.error.take_if(|_| kind != Kind::Stream) {
            return Some(Err(error));
        }
        if self.how.peek && state.peek_offset >= 0 {
            if !state.messages.is_empty() && self.searched != Some(state.added) {
                state.is_read = true;
                return Some(Ok(Found::Messages(state.added)));
            }
        } else if let Some(part) = Part::take(&mut state, 0, self.how) {
            state.is_read = true;
            return Some(Ok(Found::Part(part)));
        }
        if let Some(error) = state.error.take_if(|_| self.received.bytes == 0) {
            return Some(Err(error));
        }
        let is_end = state.has_ended(direction::RECEIVE) && !(kind == Kind::Datagram && self.how.no_wait);
        is_end.then_some(Ok(Found::End))
    }

    /// Finds the message that is peeked at, in a turn of reading: its place stays the same meanwhile. Without one the turn ends.
    fn search(&mut self) -> Option<Part> {
        let is_stream = self.socket.kind == Kind::Stream;
        let mut index = 0;
        let mut passed = None;
        loop {
            let mut state = self.socket.state();
            let mut left = match passed {
                None => state.peek_offset.max(0) as usize,
                Some(left) => left,
            };
            for _ in 0..MESSAGES {
                let Some(message) = state.messages.get(index) else {
                    let others = Self::end(&mut state);
                    drop(state);
                    self.tell_others(others);
                    return None;
                };
                let is_passed = left >= message.left && (is_stream || left > 0 || message.was_peeked);
                if !is_passed {
                    self.index = index;
                    let mut part = Part::take(&mut state, index, self.how)?;
                    part.start += left;
                    return Some(part);
                }
                left -= message.left;
                index += 1;
            }
            passed = Some(left);
            drop(state);
            // How many there are programs choose. To the end, also when the task is to end: the turn is held.
            let _ = spans::point();
        }
    }

    /// Ends a turn of reading, with the state locked; whether others are to be told.
    fn end(state: &mut State) -> bool {
        state.is_read = false;
        core::mem::take(&mut state.others_read)
    }

    fn tell_others(&self, are_there: bool) {
        if are_there {
            self.socket.receivable.wake_all();
        }
    }

    /// Puts the bytes back, of which `peeked` were given to a peek, and ends the turn.
    fn put_back(&self, index: usize, bytes: Vec<u8>, peeked: usize) {
        let others = {
            let mut state = self.socket.state();
            state.advance_peek(peeked);
            if let Some(message) = state.messages.get_mut(index) {
                message.bytes = bytes;
            }
            Self::end(&mut state)
        };
        self.tell_others(others);
    }

    /// Where a message is from, and who has sent it, as far as that is asked.
    fn note(&mut self, part: &Part) {
        if self.wants_sender {
            self.received.sender = Some(part.sender);
        }
        if let (Some(from), None) = (&part.from, &self.received.from) {
            self.received.from = from.state().name.as_ref().map(|name| name.address());
        }
    }

    fn read_message(&mut self, to: &mut IoBuf<'_>) -> Result<()> {
        let Some(part) = self.wait()? else { return Ok(()) };
        let whole = part.rest();
        let count = whole.len().min(to.left());
        let copied = copy_all(whole.get(..count).unwrap_or_default(), to);
        self.received.length = whole.len();
        self.received.bytes = count;
        self.note(&part);
        if self.how.peek {
            let files = self.look_at_files(self.index, &part);
            self.put_back(self.index, part.bytes, if copied.is_ok() { count } else { 0 });
            copied?;
            self.received.files = files?;
            return Ok(());
        }
        let (message, others, is_room) = {
            let mut state = self.socket.state();
            let was_full = state.is_full();
            let message = self.socket.take_first(&mut state);
            state.rewind_peek(self.received.length);
            (message, Self::end(&mut state), was_full && !state.is_full())
        };
        self.tell_others(others);
        if is_room {
            self.socket.tell_of_room();
        }
        // As on Linux, what could not be copied is lost.
        copied?;
        if let Some(files) = message.and_then(|message| message.files) {
            self.received.files = files.take();
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<Option<Part>> {
        loop {
            let mut patience = self.patience;
            let result = patience.wait(&self.socket.receivable, || self.begin());
            self.patience = patience;
            match result? {
                Found::Part(part) => return Ok(Some(part)),
                Found::End => return Ok(None),
                Found::Messages(added) => {
                    if let Some(part) = self.search() {
                        return Ok(Some(part));
                    }
                    self.searched = Some(added);
                }
            }
        }
    }

    /// The files of a message that stays.
    fn look_at_files(&self, index: usize, part: &Part) -> Result<Vec<Arc<OpenFile>>> {
        if !part.has_files {
            return Ok(Vec::new());
        }
        // Room for all there can be: how many they are is seen with the state locked.
        let mut into = fallible::list(MOST_FILES)?;
        let state = self.socket.state();
        if let Some(files) = state.messages.get(index).and_then(|message| message.files.as_ref()) {
            files.copy(&mut into);
        }
        Ok(into)
    }

    fn read_stream(&mut self, to: &mut IoBuf<'_>) -> Result<()> {
        let mut next = None;
        loop {
            let part = match next.take() {
                Some(part) => part,
                None => match self.wait() {
                    Ok(Some(part)) => part,
                    Ok(None) => return Ok(()),
                    Err(_) if self.received.bytes > 0 => return Ok(()),
                    Err(error) => return Err(error),
                },
            };
            // Files stay with the bytes that they came with, and so do the ids of who sent them.
            let is_first = self.received.bytes == 0;
            if !is_first && (part.has_files || self.wants_sender && self.received.sender != Some(part.sender))
            {
                self.put_back(self.index, part.bytes, 0);
                return Ok(());
            }
            let rest = part.rest();
            let count = rest.len().min(to.left());
            if let Err(error) = copy_all(rest.get(..count).unwrap_or_default(), to) {
                self.put_back(self.index, part.bytes, 0);
                return if is_first { Err(error) } else { Ok(()) };
            }
            self.note(&part);
            self.received.bytes += count;
            self.received.length += count;
            let goes_on = !to.is_empty() && !part.has_files;
            if self.how.peek {
                let files = self.look_at_files(self.index, &part);
                let others = {
                    let mut state = self.socket.state();
                    state.advance_peek(count);
                    if let Some(message) = state.messages.get_mut(self.index) {
                        message.bytes = part.bytes;
                    }
                    self.index += 1;
                    next = if goes_on { Part::take(&mut state, self.index, self.how) } else { None };
                    next.is_none() && Self::end(&mut state)
                };
                if next.is_none() {
                    self.tell_others(others);
                    // Nothing is read behind files.
                    self.received.files = files?;
                    return Ok(());
                }
                continue;
            }
            let (done, files, others) = self.consume(part, count, goes_on, &mut next);
            self.tell_others(others);
            if let Some(files) = files {
                self.received.files = files.take();
            }
            drop(done);
            if !goes_on || next.is_none() && !self.how.wait_all {
                return Ok(());
            }
        }
    }

    /// `count` bytes of the first message were read: what is left is put back, or the message taken out. Then comes the `next`, if the reader
    /// goes on and there is one, or its turn ends.
    fn consume(
        &self,
        mut part: Part,
        count: usize,
        goes_on: bool,
        next: &mut Option<Part>,
    ) -> (Option<Message>, Option<Box<InFlight>>, bool) {
        let mut state = self.socket.state();
        let mut files = None;
        let mut is_done = false;
        state.rewind_peek(count);
        if let Some(message) = state.messages.front_mut() {
            files = message.files.take();
            is_done = count >= message.left;
            if !is_done {
                message.left -= count;
                message.start = part.start + count;
                message.bytes = core::mem::take(&mut part.bytes);
            }
        }
        let done = if is_done {
            self.socket.take_first(&mut state)
        } else {
            state.readable = state.readable.saturating_sub(count);
            None
        };
        *next = if goes_on { Part::take(&mut state, 0, self.how) } else { None };
        let others = next.is_none() && Self::end(&mut state);
        drop(state);
        drop(part);
        (done, files, others)
    }
}
