// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's side of one queue ([`my_rng_abi::queue`]): what to do next, given guest memory and a source of bytes.
//!
//! No threads, no clock, no I/O: a worker calls [`Queue::step`] again and again, and [`Queue::try_to_sleep`] when there
//! has been nothing to do for a while. The guest can change all that lies in its memory at any time; each number is
//! therefore read once, judged, and used from the copy.

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use my_rng_abi::queue as abi;

use crate::limiter::{Amount, LEAST_PORTION};
use crate::memory::{Memory, NoMemory};
use crate::registers::SetUp;

/// Most bytes of one step: bounds how long a worker is away from its other queues (some 30 µs), and is the size of its
/// own buffer. A multiple of 64.
pub const STEP: usize = 32 << 10;

/// Most buffers of one step.
const BATCH: usize = 64;

/// A buffer that does not fit into a step is cut at a multiple of so many bytes, so that no number of the seedable
/// stream, and no cache line of an aligned buffer, is cut in two.
pub const CUT: usize = LEAST_PORTION as usize;

/// Where bytes come from.
pub trait Source {
    /// Fills `bytes`, which is made up of pieces of those lengths: each piece begins with a new number.
    ///
    /// # Errors
    /// There are no bytes to be had now.
    fn fill(&mut self, bytes: &mut [u8], pieces: &[usize]) -> Result<(), SourceDry>;
}

/// How much the guest may take.
pub trait Limit {
    /// Most that makes sense to ask for.
    fn most(&self) -> Amount;

    /// Takes so much. An error: not now; it can be had after that time.
    ///
    /// # Errors
    /// How long to wait.
    fn take(&mut self, amount: Amount) -> Result<(), Duration>;

    /// There is nothing to take any more.
    fn leave(&mut self);
}

/// There are no bytes to be had now; the host has been told why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceDry;

/// Why a queue stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// More buffers are posted than there are descriptors.
    Count,
    /// A descriptor breaks a rule.
    Descriptor,
    /// There is no memory where the guest said.
    Address,
}

impl Fault {
    /// Its number in the queue's state.
    pub fn code(self) -> u32 {
        match self {
            Self::Count => abi::ERROR_COUNT,
            Self::Descriptor => abi::ERROR_DESCRIPTOR,
            Self::Address => abi::ERROR_ADDRESS,
        }
    }
}

impl From<NoMemory> for Fault {
    fn from(NoMemory: NoMemory) -> Self {
        Self::Address
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to do.
    Idle,
    /// Something was done.
    Worked(Work),
    /// There is work, but the limits allow it only after that time.
    Throttled(Duration),
    /// There is work, but nothing to do it with.
    Dry,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Bytes given to guest memory.
    pub bytes: usize,
    /// Buffers completed.
    pub buffers: u32,
    /// Whether the driver wants an interrupt for that.
    pub interrupt: bool,
}

/// A queue in guest memory that a worker serves in steps, of either personality.
pub trait GuestQueue {
    /// What a step fills: pieces of guest memory.
    type Pieces;

    /// How many buffers the driver has posted and the device has not completed.
    ///
    /// # Errors
    /// The queue must stop.
    fn outstanding(&self, memory: &mut impl Memory) -> Result<u32, Fault>;

    /// Reads what comes next of the outstanding buffers, at most `most`. Gives it with what it takes of the limits; no bytes: not
    /// even the first piece is within `most`. What is wrong is an error only when it is the first, so that what is before it
    /// is filled.
    ///
    /// # Errors
    /// The queue must stop.
    fn gather(
        &mut self,
        outstanding: u32,
        most: Amount,
        memory: &mut impl Memory,
    ) -> Result<(Self::Pieces, Amount), Fault>;

    /// The bytes of those pieces that begin with a new number each.
    fn lengths(pieces: &Self::Pieces) -> &[usize];

    /// Brings the pieces' memory nearer.
    fn prefetch(_pieces: &Self::Pieces, _memory: &mut impl Memory) {}

    /// Writes the bytes to the pieces, and tells the driver what is complete.
    ///
    /// # Errors
    /// The queue must stop.
    fn hand_over(
        &mut self,
        pieces: &Self::Pieces,
        bytes: &[u8],
        memory: &mut impl Memory,
    ) -> Result<Work, Fault>;

    /// Does at most [`STEP`] bytes of work in at most that many bytes of `space`, and at most what `limit` allows. That
    /// is asked whether so many operations (buffers begun) and bytes are allowed.
    ///
    /// # Errors
    /// The queue must stop.
    fn step(
        &mut self,
        memory: &mut impl Memory,
        source: &mut impl Source,
        space: &mut [u8; STEP],
        limit: &mut impl Limit,
    ) -> Result<Step, Fault> {
        let outstanding = self.outstanding(memory)?;
        if outstanding == 0 {
            limit.leave();
            return Ok(Step::Idle);
        }
        let (mut pieces, mut amount) = self.gather(outstanding, limit.most(), memory)?;
        if amount.bytes == 0 {
            // The guest has made something larger of what it asked for.
            limit.leave();
            (pieces, amount) = self.gather(outstanding, limit.most(), memory)?;
        }
        if let Err(wait) = limit.take(amount) {
            return Ok(Step::Throttled(wait));
        }
        // At most a step's: the queue has seen to that.
        let bytes = usize::try_from(amount.bytes).ok().and_then(|bytes| space.get_mut(..bytes));
        let bytes = bytes.unwrap_or_default();
        // While the bytes are made. Above all a worker that has slept finds nothing of it in its cache.
        Self::prefetch(&pieces, memory);
        if source.fill(bytes, Self::lengths(&pieces)).is_err() {
            return Ok(Step::Dry);
        }
        self.hand_over(&pieces, bytes, memory).map(Step::Worked)
    }
}

/// A buffer, or what is left to fill of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Buffer {
    address: u64,
    left: usize,
}

/// The pieces of a step.
#[derive(Debug)]
pub struct Pieces {
    buffers: [Buffer; BATCH],
    lengths: [usize; BATCH],
    count: usize,
    /// Most pieces.
    most: usize,
    bytes: usize,
    room: usize,
}

impl Pieces {
    /// Room for at most so many pieces and bytes.
    fn new(most: usize, room: usize) -> Self {
        let (most, room) = (most.min(BATCH), room.min(STEP));
        Self { buffers: [Buffer::default(); BATCH], lengths: [0; BATCH], count: 0, most, bytes: 0, room }
    }

    /// Takes as much of a buffer as there is room for. `false`: there is no room for more after it.
    fn push(&mut self, buffer: Buffer) -> bool {
        let length = if buffer.left <= self.room { buffer.left } else { self.room - self.room % CUT };
        match (self.buffers.get_mut(self.count), self.lengths.get_mut(self.count)) {
            (Some(place), Some(place_of_length)) if length > 0 && self.count < self.most => {
                (*place, *place_of_length) = (buffer, length);
                self.count += 1;
                self.bytes += length;
                self.room -= length;
                length == buffer.left && self.count < self.most
            }
            _ => false,
        }
    }

    fn lengths(&self) -> &[usize] {
        self.lengths.get(..self.count).unwrap_or_default()
    }

    fn each(&self) -> impl Iterator<Item = (Buffer, usize)> {
        self.buffers.into_iter().zip(self.lengths).take(self.count)
    }
}

/// A queue that runs.
#[derive(Debug)]
pub struct Queue {
    set_up: SetUp,
    completed: u32,
    /// What is left of buffer number `completed`, if it was begun.
    begun: Option<Buffer>,
    asleep: bool,
}

impl Queue {
    /// A queue that begins.
    ///
    /// # Errors
    /// There is no memory at the state's address.
    pub fn start(set_up: SetUp, memory: &mut impl Memory) -> Result<Self, Fault> {
        let queue = Self { set_up, completed: 0, begun: None, asleep: false };
        for field in [abi::COMPLETED, abi::SLEEPING, abi::ERROR] {
            memory.store(queue.field(field), 0)?;
        }
        Ok(queue)
    }

    /// How it was set up.
    pub fn set_up(&self) -> &SetUp {
        &self.set_up
    }

    /// Whether it waits for its doorbell.
    pub fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// Reads the descriptors of the buffers that come next.
    fn read_pieces(&self, outstanding: u32, most: Amount, memory: &mut impl Memory) -> Result<Pieces, Fault> {
        let room = usize::try_from(most.bytes).unwrap_or(STEP);
        let begins = usize::try_from(most.operations).unwrap_or(BATCH);
        let mut pieces = Pieces::new(begins.saturating_add(self.begun.is_some().into()), room);
        let mut number = self.completed;
        let mut left = outstanding;
        if let Some(begun) = self.begun {
            if !pieces.push(begun) {
                return Ok(pieces);
            }
            number = number.wrapping_add(1);
            left -= 1;
        }
        // At most up to the end of the ring; what is at its beginning is for the next step.
        let place = number % self.set_up.depth;
        let run = left.min(self.set_up.depth - place).min(BATCH as u32);
        let mut descriptors = [0; BATCH * abi::DESCRIPTOR_SIZE];
        let descriptors = descriptors.get_mut(..run as usize * abi::DESCRIPTOR_SIZE).unwrap_or_default();
        let start = self.set_up.descriptors + u64::from(place) * abi::DESCRIPTOR_SIZE as u64; // The set-up fits.
        memory.read(start, descriptors)?;
        for descriptor in descriptors.chunks_exact(abi::DESCRIPTOR_SIZE) {
            match buffer(descriptor, memory) {
                Ok(buffer) if pieces.push(buffer) => {}
                Err(fault) if pieces.count == 0 => return Err(fault),
                _ => break,
            }
        }
        Ok(pieces)
    }

    /// Writes the bytes to the buffers. Gives the number of buffers that are full now.
    fn fill_buffers(
        &mut self,
        pieces: &Pieces,
        bytes: &[u8],
        memory: &mut impl Memory,
    ) -> Result<u32, Fault> {
        let mut rest = bytes;
        let mut full = 0;
        for (buffer, length) in pieces.each() {
            let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            memory.write(buffer.address, piece)?;
            self.begun = None;
            match buffer.left - length {
                0 => full += 1,
                // The whole buffer was found to be inside the address space.
                left => self.begun = Some(Buffer { address: buffer.address + length as u64, left }),
            }
        }
        Ok(full)
    }

    /// Tells the driver of so many full buffers. `true`: it wants an interrupt.
    fn complete(&mut self, buffers: u32, memory: &mut impl Memory) -> Result<bool, Fault> {
        let before = self.completed;
        self.completed = before.wrapping_add(buffers);
        memory.store(self.field(abi::COMPLETED), self.completed)?;
        fence(Ordering::SeqCst);
        if memory.load(self.field(abi::INTERRUPT_WANTED))? == 0 {
            return Ok(false);
        }
        fence(Ordering::Acquire);
        Ok(abi::passes(memory.load(self.field(abi::INTERRUPT_AT))?, before, self.completed))
    }

    /// Asks for the doorbell, unless there is work after all: then it is not asleep, and `false` comes back.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn try_to_sleep(&mut self, memory: &mut impl Memory) -> Result<bool, Fault> {
        memory.store(self.field(abi::SLEEPING), 1)?;
        fence(Ordering::SeqCst);
        if memory.load(self.field(abi::POSTED))? == self.completed {
            self.asleep = true;
        } else {
            memory.store(self.field(abi::SLEEPING), 0)?;
        }
        Ok(self.asleep)
    }

    /// The doorbell was rung.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn wake(&mut self, memory: &mut impl Memory) -> Result<(), Fault> {
        if self.asleep {
            self.asleep = false;
            memory.store(self.field(abi::SLEEPING), 0)?;
        }
        Ok(())
    }

    /// Tells the driver why the queue has stopped, if it can still be told.
    pub fn fail(set_up: &SetUp, fault: Fault, memory: &mut impl Memory) {
        let _ = memory.store(field(set_up, abi::ERROR), fault.code());
    }

    fn field(&self, offset: usize) -> u64 {
        field(&self.set_up, offset)
    }
}

impl GuestQueue for Queue {
    type Pieces = Pieces;

    fn outstanding(&self, memory: &mut impl Memory) -> Result<u32, Fault> {
        let posted = memory.load(self.field(abi::POSTED))?;
        abi::outstanding(posted, self.completed, self.set_up.depth).ok_or(Fault::Count)
    }

    fn gather(
        &mut self,
        outstanding: u32,
        most: Amount,
        memory: &mut impl Memory,
    ) -> Result<(Pieces, Amount), Fault> {
        let pieces = self.read_pieces(outstanding, most, memory)?;
        let begun = pieces.count.saturating_sub(usize::from(self.begun.is_some()));
        let amount = Amount { operations: begun as u64, bytes: pieces.bytes as u64 };
        Ok((pieces, amount))
    }

    fn lengths(pieces: &Pieces) -> &[usize] {
        pieces.lengths()
    }

    fn prefetch(pieces: &Pieces, memory: &mut impl Memory) {
        pieces.each().for_each(|(buffer, length)| memory.prefetch(buffer.address, length));
    }

    fn hand_over(&mut self, pieces: &Pieces, bytes: &[u8], memory: &mut impl Memory) -> Result<Work, Fault> {
        let buffers = self.fill_buffers(pieces, bytes, memory)?;
        let interrupt = buffers > 0 && self.complete(buffers, memory)?;
        Ok(Work { bytes: bytes.len(), buffers, interrupt })
    }
}

/// Address of a field of the state, which the set-up has all inside the address space.
fn field(set_up: &SetUp, offset: usize) -> u64 {
    set_up.state + offset as u64
}

/// Judges a descriptor.
fn buffer(descriptor: &[u8], memory: &mut impl Memory) -> Result<Buffer, Fault> {
    let word = |offset: usize| {
        let bytes = descriptor.get(offset..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let address = u64::from(word(abi::DESCRIPTOR_ADDRESS))
        | (u64::from(word(abi::DESCRIPTOR_ADDRESS + size_of::<u32>())) << 32);
    let length = word(abi::DESCRIPTOR_LENGTH);
    if !(1..=abi::BUFFER_SIZE_MAX).contains(&length) || word(abi::DESCRIPTOR_RESERVED) != 0 {
        return Err(Fault::Descriptor);
    }
    let left = length as usize;
    memory.check_writable(address, left)?; // Which also means that it does not pass the end of the address space.
    Ok(Buffer { address, left })
}

#[cfg(test)]
mod tests;
