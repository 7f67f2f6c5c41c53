// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory that only the client can reach: `DMA_READ` and `DMA_WRITE`, sent by workers, answered through the
//! server's thread.

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::DmaError;
use crate::counters::Counters;
use crate::errno::Errno;
use crate::sender::Sender;
use crate::wire::{DMA_ACCESS_SIZE, Header, Kind, Reader, Writer, command};

/// The requests to one client.
#[derive(Debug)]
pub(crate) struct Remote {
    sender: Arc<Sender>,
    patience: Duration,
    /// The thread that receives the answers, and so must not wait for one.
    receiver: ThreadId,
    counters: Arc<Counters>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Most bytes of data in one message. 0 until the version exchange.
    max_transfer: usize,
    next_id: u16,
    waiting: HashMap<u16, Waiting>,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    command: u16,
    answer: mpsc::SyncSender<Result<Vec<u8>, DmaError>>,
}

impl Remote {
    /// To be made by the thread that will call [`Self::answered`].
    pub(crate) fn new(sender: Arc<Sender>, patience: Duration, counters: Arc<Counters>) -> Self {
        let state = State { max_transfer: 0, next_id: 0, waiting: HashMap::new(), closed: false };
        Self { sender, patience, receiver: thread::current().id(), counters, state: Mutex::new(state) }
    }

    /// What the version exchange allows in one message.
    pub(crate) fn set_max_transfer(&self, bytes: u32) {
        self.state().max_transfer = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    /// Fails everything that waits, and all that is asked later.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear(); // Whoever waits sees its channel end.
    }

    /// Takes an answer off the socket. `false`: nobody asked.
    pub(crate) fn answered(&self, header: &Header, payload: &[u8]) -> bool {
        let mut state = self.state();
        if state.waiting.get(&header.id).is_none_or(|waiting| waiting.command != header.command) {
            return false;
        }
        let Some(waiting) = state.waiting.remove(&header.id) else { return false };
        let answer = match header.kind() {
            Kind::Reply { error: None } => Ok(payload.to_vec()),
            Kind::Reply { error: Some(number) } => Err(DmaError::Refused(errno(number))),
            _ => Err(DmaError::Refused(Errno::PROTO)),
        };
        // If nobody waits any more, the answer came too late.
        let _ = waiting.answer.try_send(answer);
        true
    }

    pub(super) fn read(&self, address: u64, to: &mut [u8]) -> Result<(), DmaError> {
        for (address, part) in chunk_addresses(address, to.chunks_mut(self.max_transfer()?)) {
            let head = access_head(address, part.len());
            let answer = self.request(command::DMA_READ, &head, &[])?;
            let data = answered_access(&answer, address, part.len())?;
            if data.len() != part.len() {
                return Err(DmaError::Refused(Errno::PROTO));
            }
            part.copy_from_slice(data);
        }
        Ok(())
    }

    pub(super) fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        for (address, part) in chunk_addresses(address, from.chunks(self.max_transfer()?)) {
            // The specification's answer repeats the address and the count, which it gives 4 bytes in one place and 8 in
            // another. That there is no error is all that matters.
            self.request(command::DMA_WRITE, &access_head(address, part.len()), part)?;
        }
        Ok(())
    }

    /// Notes an access that failed because of where it went.
    pub(super) fn count_fault(&self, error: &DmaError) {
        use DmaError::{Forbidden, Gone, NotMapped, OutOfRange};
        if matches!(error, NotMapped { .. } | Forbidden { .. } | OutOfRange | Gone { .. }) {
            self.counters.dma_faults.add_one();
        }
    }

    /// Sends one request and waits for its answer's payload.
    fn request(&self, command: u16, head: &[u8], data: &[u8]) -> Result<Vec<u8>, DmaError> {
        self.counters.dma_messages.add_one();
        let outcome = self.exchange(command, head, data);
        outcome.inspect_err(|_| self.counters.dma_messages_failed.add_one())
    }

    fn exchange(&self, command: u16, head: &[u8], data: &[u8]) -> Result<Vec<u8>, DmaError> {
        if thread::current().id() == self.receiver {
            return Err(DmaError::WouldDeadlock);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let id = self.state().enlist(Waiting { command, answer })?;
        let header = Header::request(id, command, head.len().saturating_add(data.len()));
        let sent = self.sender.send([&header.encode(), head, data]);
        let outcome = match sent {
            Ok(()) => answered.recv_timeout(self.patience),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        self.state().waiting.remove(&id);
        match outcome {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(DmaError::Timeout),
            Err(RecvTimeoutError::Disconnected) => Err(DmaError::Disconnected),
        }
    }

    fn max_transfer(&self) -> Result<usize, DmaError> {
        match self.state().max_transfer {
            0 => Err(DmaError::Disconnected),
            bytes => Ok(bytes),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives a request a name that no other one has.
    fn enlist(&mut self, waiting: Waiting) -> Result<u16, DmaError> {
        if self.closed {
            return Err(DmaError::Disconnected);
        }
        if self.waiting.len() > usize::from(u16::MAX) {
            return Err(DmaError::Timeout); // 65536 threads are waiting already.
        }
        while self.waiting.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        // Not the same name again soon, so that a late answer to one request is not taken for that to another.
        self.next_id = self.next_id.wrapping_add(1);
        self.waiting.insert(id, waiting);
        Ok(id)
    }
}

/// Pairs each part of a transfer with its guest address. The transfer was found to lie within the address space.
fn chunk_addresses<T: AsRef<[u8]>>(
    address: u64,
    parts: impl Iterator<Item = T>,
) -> impl Iterator<Item = (u64, T)> {
    parts.scan(address, |next, part| {
        let address = *next;
        *next = next.wrapping_add(part.as_ref().len() as u64);
        Some((address, part))
    })
}

fn access_head(address: u64, count: usize) -> [u8; DMA_ACCESS_SIZE] {
    let mut head = [0; DMA_ACCESS_SIZE];
    let mut writer = Writer::new(&mut head);
    writer.u64(address);
    writer.u64(count as u64);
    head
}

/// The data in the answer to a read, if it is an answer to that.
fn answered_access(answer: &[u8], address: u64, count: usize) -> Result<&[u8], DmaError> {
    let mut reader = Reader(answer);
    match (reader.u64(), reader.u64()) {
        (Some(got), Some(size)) if got == address && size == count as u64 => Ok(reader.rest()),
        _ => Err(DmaError::Refused(Errno::PROTO)),
    }
}

/// An errno that a client sent; one that is none becomes `EIO`.
fn errno(number: u32) -> Errno {
    u16::try_from(number).ok().and_then(Errno::from_raw).unwrap_or(Errno::IO)
}
