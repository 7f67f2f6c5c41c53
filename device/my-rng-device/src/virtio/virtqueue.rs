// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's side of a split virtqueue (VIRTIO 1.2, section 2.7) of which every buffer is to be filled: as pure as
//! [`crate::queue`], and stepped by the same workers.
//!
//! An entropy device may use less of a buffer than there is (section 5.4.6), so a chain is always completed in the step that
//! begins it: there is no state in between. Whatever is in the guest's memory is read once, judged, and used from the copy.
//! A chain that breaks a rule stops the queue, and the driver must reset the device.

use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::{
    VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
    VRING_USED_F_NO_NOTIFY,
};

use crate::limiter::Amount;
use crate::memory::Memory;
use crate::queue::{Fault, GuestQueue, STEP, Work};

/// Most entries of a queue, and so most descriptors of a chain.
pub const SIZE_MAX: u16 = 256;

/// Bytes of a descriptor, of an entry of the ring of available chains, and of one of used chains.
const DESCRIPTOR: u64 = 16;
const AVAILABLE: u64 = 2;
const USED: u64 = 8;
/// Where in both rings the index is, after 16 bits of flags, and where the entries begin.
const INDEX: u64 = 2;
const ENTRIES: u64 = 4;

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;
const NO_INTERRUPT: u16 = VRING_AVAIL_F_NO_INTERRUPT as u16;
const NO_NOTIFY: u16 = VRING_USED_F_NO_NOTIFY as u16;

/// Most chains of a step.
const CHAINS: usize = 64;
/// Most pieces of memory of a step: at least one chain of them fits.
const SEGMENTS: usize = SIZE_MAX as usize;

/// A queue's set-up, found to be valid as far as that can be seen without looking at guest memory: no part passes the end
/// of the address space, and each is aligned as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetUp {
    /// Entries; a power of two, at most [`SIZE_MAX`].
    pub size: u16,
    /// Where the table of descriptors is.
    pub descriptors: u64,
    /// Where the driver's area is: the ring of available chains.
    pub driver: u64,
    /// Where the device's area is: the ring of used chains.
    pub device: u64,
    /// Whether VIRTIO_F_EVENT_IDX was agreed on.
    pub event_index: bool,
    /// Whether VIRTIO_F_INDIRECT_DESC was agreed on.
    pub indirect: bool,
}

impl SetUp {
    /// These parts, if they are where they may be.
    pub fn checked(self) -> Option<Self> {
        let size = u64::from(self.size);
        let fits = |start: u64, alignment: u64, length: u64| {
            start % alignment == 0 && start.checked_add(length).is_some()
        };
        let valid = self.size.is_power_of_two()
            && self.size <= SIZE_MAX
            && fits(self.descriptors, DESCRIPTOR, size * DESCRIPTOR)
            && fits(self.driver, AVAILABLE, ENTRIES + size * AVAILABLE + 2)
            && fits(self.device, 4, ENTRIES + size * USED + 2);
        valid.then_some(self)
    }

    /// In the device's area: from which index on the driver rings its doorbell.
    fn available_event(&self) -> u64 {
        self.device + ENTRIES + u64::from(self.size) * USED
    }

    /// In the driver's area: from which index on it wants to be interrupted.
    fn used_event(&self) -> u64 {
        self.driver + ENTRIES + u64::from(self.size) * AVAILABLE
    }
}

/// A piece of guest memory that is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    address: u64,
    length: usize,
}

/// A chain of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chain {
    head: u16,
    /// Bytes of it that will be filled.
    length: usize,
}

/// A descriptor as it was read.
#[derive(Debug, Clone, Copy)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

/// A virtqueue that runs.
#[derive(Debug)]
pub struct Virtqueue {
    set_up: SetUp,
    /// Index of the chain that comes next, and of the used entry that does.
    available: u16,
    used: u16,
    asleep: bool,
    chains: Vec<Chain>,
    segments: Vec<Segment>,
    /// Descriptors that this step has read.
    walked: usize,
}

impl Virtqueue {
    /// A queue that begins.
    ///
    /// # Errors
    /// There is no memory where the rings should be.
    pub fn start(set_up: SetUp, memory: &mut impl Memory) -> Result<Self, Fault> {
        let mut queue = Self {
            set_up,
            available: 0,
            used: 0,
            asleep: false,
            chains: Vec::with_capacity(CHAINS),
            segments: Vec::with_capacity(SEGMENTS),
            walked: 0,
        };
        memory.load16(set_up.driver + INDEX)?;
        memory.check_writable(set_up.device, (ENTRIES + u64::from(set_up.size) * USED) as usize)?;
        queue.want_doorbell(false, memory)?;
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

    /// Reads the chains that come next, as far as there is room for them. Gives the bytes that they will get.
    fn read_chains(
        &mut self,
        outstanding: u32,
        most: Amount,
        memory: &mut impl Memory,
    ) -> Result<usize, Fault> {
        self.chains.clear();
        self.segments.clear();
        self.walked = 0;
        let room = usize::try_from(most.bytes).unwrap_or(STEP).min(STEP);
        let chains = usize::try_from(most.operations).unwrap_or(CHAINS).min(CHAINS);
        let mut bytes = 0;
        for place in (0..self.set_up.size).take(outstanding as usize) {
            let full = self.chains.len() >= chains || bytes >= room || self.segments.len() >= SEGMENTS;
            // However long the chains are, the worker is away from its other queues for so many descriptors only.
            if full || self.walked >= SEGMENTS {
                break;
            }
            let before = self.segments.len();
            match self.chain(self.available.wrapping_add(place), room - bytes, memory) {
                Ok(chain) => {
                    bytes += chain.length;
                    self.chains.push(chain);
                }
                Err(fault) if self.chains.is_empty() => return Err(fault),
                Err(_) => {
                    self.segments.truncate(before);
                    break;
                }
            }
        }
        Ok(bytes)
    }

    /// Reads the chain at that index, all of it, and notes the segments of its first `room` bytes.
    fn chain(&mut self, index: u16, room: usize, memory: &mut impl Memory) -> Result<Chain, Fault> {
        let SetUp { size, descriptors, driver, indirect, .. } = self.set_up;
        let entry = driver + ENTRIES + u64::from(index % size) * AVAILABLE;
        let head = memory.load16(entry)?;
        let (mut table, mut entries, mut next) = (descriptors, u32::from(size), head);
        let (mut is_indirect, mut seen) = (false, 0);
        let mut length = 0;
        loop {
            seen += 1;
            // More descriptors than there are: the chain runs in a circle.
            if u32::from(next) >= entries || seen > entries {
                return Err(Fault::Descriptor);
            }
            self.walked += 1;
            let place = table.checked_add(u64::from(next) * DESCRIPTOR).ok_or(Fault::Address)?;
            let descriptor = Descriptor::read(place, memory)?;
            let Descriptor { address, flags, .. } = descriptor;
            if flags & INDIRECT != 0 {
                entries = descriptor.length / DESCRIPTOR as u32;
                let whole = descriptor.length % DESCRIPTOR as u32 == 0;
                let allowed = indirect && !is_indirect && flags & NEXT == 0;
                if !allowed || !whole || !(1..=u32::from(size)).contains(&entries) {
                    return Err(Fault::Descriptor);
                }
                (table, next, is_indirect, seen) = (address, 0, true, 0);
                continue;
            }
            // There is nothing that a driver could tell this device.
            if flags & WRITE == 0 {
                return Err(Fault::Descriptor);
            }
            memory.check_writable(address, descriptor.length as usize)?;
            let taken = (descriptor.length as usize).min(room - length);
            if taken > 0 && self.segments.len() < SEGMENTS {
                self.segments.push(Segment { address, length: taken });
                length += taken;
            }
            if flags & NEXT == 0 {
                break;
            }
            next = descriptor.next;
        }
        // A buffer without a byte cannot get the one that it must get at least.
        if length == 0 { Err(Fault::Descriptor) } else { Ok(Chain { head, length }) }
    }

    /// Gives the chains back to the driver. Whether it wants an interrupt for that.
    fn complete(&mut self, memory: &mut impl Memory) -> Result<bool, Fault> {
        let SetUp { size, driver, device, event_index, .. } = self.set_up;
        let before = self.used;
        for chain in &self.chains {
            let entry = device + ENTRIES + u64::from(self.used % size) * USED;
            let mut bytes = [0; USED as usize];
            let fields =
                u32::from(chain.head).to_le_bytes().into_iter().chain((chain.length as u32).to_le_bytes());
            bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
            memory.write(entry, &bytes)?;
            self.used = self.used.wrapping_add(1);
            self.available = self.available.wrapping_add(1);
        }
        // Releases the entries and what is in the buffers.
        memory.store16(device + INDEX, self.used)?;
        // The driver says what it wants, then looks at the index once more.
        fence(Ordering::SeqCst);
        if event_index {
            let event = memory.load16(self.set_up.used_event())?;
            Ok(self.used.wrapping_sub(event).wrapping_sub(1) < self.used.wrapping_sub(before))
        } else {
            Ok(memory.load16(driver)? & NO_INTERRUPT == 0)
        }
    }

    /// As [`crate::queue::Queue::try_to_sleep`].
    ///
    /// # Errors
    /// The queue must stop.
    pub fn try_to_sleep(&mut self, memory: &mut impl Memory) -> Result<bool, Fault> {
        self.want_doorbell(true, memory)?;
        fence(Ordering::SeqCst);
        self.asleep = self.outstanding(memory)? == 0;
        if !self.asleep {
            self.want_doorbell(false, memory)?;
        }
        Ok(self.asleep)
    }

    /// The doorbell was rung.
    ///
    /// # Errors
    /// The queue must stop.
    pub fn wake(&mut self, memory: &mut impl Memory) -> Result<(), Fault> {
        if self.asleep {
            self.asleep = false;
            self.want_doorbell(false, memory)?;
        }
        Ok(())
    }

    /// Tells the driver whether to ring for the next chain. With an index for that, not to want it is to leave the index
    /// behind: it is rung for once in 65 536 chains then.
    fn want_doorbell(&mut self, wanted: bool, memory: &mut impl Memory) -> Result<(), Fault> {
        match (self.set_up.event_index, wanted) {
            (true, true) => memory.store16(self.set_up.available_event(), self.available)?,
            (true, false) => {}
            (false, wanted) => memory.store16(self.set_up.device, if wanted { 0 } else { NO_NOTIFY })?,
        }
        Ok(())
    }
}

impl GuestQueue for Virtqueue {
    /// One number after the other goes into all of them.
    type Pieces = [usize; 1];

    fn outstanding(&self, memory: &mut impl Memory) -> Result<u32, Fault> {
        let index = memory.load16(self.set_up.driver + INDEX)?;
        let outstanding = index.wrapping_sub(self.available);
        if outstanding <= self.set_up.size { Ok(outstanding.into()) } else { Err(Fault::Count) }
    }

    fn gather(
        &mut self,
        outstanding: u32,
        most: Amount,
        memory: &mut impl Memory,
    ) -> Result<([usize; 1], Amount), Fault> {
        let bytes = self.read_chains(outstanding, most, memory)?;
        Ok(([bytes], Amount { operations: self.chains.len() as u64, bytes: bytes as u64 }))
    }

    fn lengths(pieces: &[usize; 1]) -> &[usize] {
        pieces
    }

    fn hand_over(&mut self, _: &[usize; 1], bytes: &[u8], memory: &mut impl Memory) -> Result<Work, Fault> {
        let mut rest = bytes;
        for segment in &self.segments {
            let Some((piece, after)) = rest.split_at_checked(segment.length) else { break };
            memory.write(segment.address, piece)?;
            rest = after;
        }
        let interrupt = self.complete(memory)?;
        Ok(Work { bytes: bytes.len(), buffers: self.chains.len() as u32, interrupt })
    }
}

impl Descriptor {
    fn read(address: u64, memory: &mut impl Memory) -> Result<Self, Fault> {
        let mut bytes = [0; DESCRIPTOR as usize];
        memory.read(address, &mut bytes)?;
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
        Ok(Self {
            address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        })
    }
}

#[cfg(test)]
mod tests;
