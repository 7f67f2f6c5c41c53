// SPDX-License-Identifier: MIT OR Apache-2.0
//! A split virtqueue (2.7): descriptors, the ring in which the driver makes chains of them available, and the ring in which the device
//! gives them back. Who has the queue has it alone; several CPUs need a lock or queues of their own.

use alloc::{vec, vec::Vec};

use exo_platform::{Dma, NoMemory, PAGE_SIZE, Segment, memory_barrier};

/// Bytes of a descriptor: address, length, flags, next.
const DESCRIPTOR: usize = 16;
const FLAG_NEXT: u16 = 1;
const FLAG_DEVICE_WRITES: u16 = 2;
/// In the driver's ring: no interrupts, please. In the device's: no doorbell, please.
const FLAG_QUIET: u16 = 1;
/// Offset of the entries in both rings, after flags and index.
const ENTRIES: usize = 4;
/// Bytes of an entry of the device's ring: head of the chain, bytes written.
const USED_ENTRY: usize = 8;
/// Most entries that are used: more only takes memory.
pub const SIZE_MAX: u16 = 256;

/// Where the parts of a queue are, for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The descriptors.
    pub descriptors: u64,
    /// The driver's ring.
    pub available: u64,
    /// The device's ring.
    pub used: u64,
}

/// A chain that the device has given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// What [`Queue::add`] gave for it.
    pub head: u16,
    /// How many bytes the device says it has written.
    pub written: u32,
}

/// The device has broken the rules; the queue is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A queue.
#[derive(Debug)]
pub struct Queue {
    memory: Dma,
    size: u16,
    used_at: usize,
    /// For each descriptor the next of its chain, or of the free ones; the size for none.
    next: Vec<u16>,
    /// For each descriptor: a chain that the device has begins there.
    outstanding: Vec<bool>,
    free: u16,
    free_count: u16,
    /// How many chains were added, published, and taken back, modulo 2¹⁶.
    added: u16,
    published: u16,
    taken: u16,
    is_broken: bool,
}

impl Queue {
    /// A queue of the largest size that both `largest` (the device's) and [`SIZE_MAX`] allow, in memory of NUMA node `node`.
    ///
    /// # Errors
    /// [`NoMemory`], also for a size of 0.
    pub fn new(largest: u16, node: Option<u32>) -> Result<Self, NoMemory> {
        let largest = largest.min(SIZE_MAX);
        // A power of two.
        let size = largest.checked_ilog2().map(|log| 1u16 << log).ok_or(NoMemory)?;
        let entries = usize::from(size);
        let used_at = (entries * DESCRIPTOR + ENTRIES + 2 * entries + 2).next_multiple_of(4);
        let memory = Dma::new(used_at + ENTRIES + USED_ENTRY * entries + 2, PAGE_SIZE, node)?;
        let mut queue = Self {
            memory,
            size,
            used_at,
            next: vec![0; entries],
            outstanding: vec![false; entries],
            free: 0,
            free_count: size,
            added: 0,
            published: 0,
            taken: 0,
            is_broken: false,
        };
        queue.link_all();
        Ok(queue)
    }

    fn link_all(&mut self) {
        for (next, number) in self.next.iter_mut().zip(1..) {
            *next = number;
        }
    }

    /// Forgets everything, when the device was reset.
    pub fn reset(&mut self) {
        let zeros = [0; 64];
        for offset in (0..self.memory.len()).step_by(zeros.len()) {
            self.memory.write_bytes(offset, &zeros);
        }
        self.outstanding.fill(false);
        (self.free, self.free_count) = (0, self.size);
        (self.added, self.published, self.taken, self.is_broken) = (0, 0, 0, false);
        self.link_all();
    }

    /// Entries.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Descriptors that no chain has.
    pub fn room(&self) -> u16 {
        self.free_count
    }

    /// Whether the device has broken the rules.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Chains that the device has.
    pub fn outstanding(&self) -> u16 {
        self.added.wrapping_sub(self.taken)
    }

    /// Where it is, for the device.
    pub fn places(&self) -> Places {
        let start = self.memory.address();
        let at = |offset: usize| start.wrapping_add(offset as u64);
        Places { descriptors: start, available: at(self.available_at()), used: at(self.used_at) }
    }

    fn available_at(&self) -> usize {
        usize::from(self.size) * DESCRIPTOR
    }

    /// Adds a chain: what the device reads, then what it writes. The device sees it after [`publish`](Self::publish). None if there
    /// is no room for it now, or nothing in it. Else the number that comes back with it.
    pub fn add(
        &mut self,
        read: impl Iterator<Item = Segment>,
        written: impl Iterator<Item = Segment>,
    ) -> Option<u16> {
        let (head, free_count) = (self.free, self.free_count);
        let segments = read.map(|s| (s, 0)).chain(written.map(|s| (s, FLAG_DEVICE_WRITES)));
        let mut last: Option<(u16, u16)> = None;
        for (segment, flags) in segments {
            let number = self.free;
            let Some(&next) = self.next.get(usize::from(number)).filter(|_| self.free_count > 0) else {
                // What was taken is free again, in the same order.
                (self.free, self.free_count) = (head, free_count);
                return None;
            };
            if let Some((before, flags)) = last {
                self.memory.write16(usize::from(before) * DESCRIPTOR + 12, flags | FLAG_NEXT);
                self.memory.write16(usize::from(before) * DESCRIPTOR + 14, number);
            }
            let at = usize::from(number) * DESCRIPTOR;
            self.memory.write64(at, segment.address);
            self.memory.write32(at + 8, segment.length);
            self.memory.write16(at + 12, flags);
            last = Some((number, flags));
            self.free = next;
            self.free_count -= 1;
        }
        let (last, _) = last?;
        // The chain's end, for when it comes back.
        if let Some(next) = self.next.get_mut(usize::from(last)) {
            *next = self.size;
        }
        if let Some(outstanding) = self.outstanding.get_mut(usize::from(head)) {
            *outstanding = true;
        }
        let slot = usize::from(self.added % self.size);
        self.memory.write16(self.available_at() + ENTRIES + 2 * slot, head);
        self.added = self.added.wrapping_add(1);
        Some(head)
    }

    /// Shows the device what was added; whether its doorbell must be rung.
    #[must_use = "the device may be asleep"]
    pub fn publish(&mut self) -> bool {
        if self.published == self.added {
            return false;
        }
        self.published = self.added;
        self.memory.write16(self.available_at() + 2, self.added);
        // The device reads the index after it has said that it wants the doorbell.
        memory_barrier();
        self.memory.read16(self.used_at) & FLAG_QUIET == 0
    }

    /// Whether [`take`](Self::take) would give something.
    #[inline]
    pub fn has_used(&self) -> bool {
        !self.is_broken && self.memory.read16(self.used_at + 2) != self.taken
    }

    /// Takes a chain that the device has given back.
    ///
    /// # Errors
    /// [`Broken`] when it gives back what it does not have, now and from then on.
    pub fn take(&mut self) -> Result<Option<Used>, Broken> {
        if self.is_broken {
            return Err(Broken);
        }
        let index = self.memory.read16(self.used_at + 2);
        let waiting = index.wrapping_sub(self.taken);
        if waiting == 0 {
            return Ok(None);
        }
        let at = self.used_at + ENTRIES + USED_ENTRY * usize::from(self.taken % self.size);
        let (head, written) = (self.memory.read32(at), self.memory.read32(at + 4));
        let head = u16::try_from(head).unwrap_or(u16::MAX);
        let is_outstanding = self.outstanding.get(usize::from(head)).copied().unwrap_or(false);
        if waiting > self.outstanding() || !is_outstanding {
            self.is_broken = true;
            return Err(Broken);
        }
        self.release(head);
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(Used { head, written }))
    }

    /// Makes the descriptors of a chain free.
    fn release(&mut self, head: u16) {
        if let Some(outstanding) = self.outstanding.get_mut(usize::from(head)) {
            *outstanding = false;
        }
        let (mut last, mut count) = (head, 1);
        while let Some(&next) = self.next.get(usize::from(last)).filter(|next| **next < self.size) {
            last = next;
            count += 1;
        }
        if let Some(next) = self.next.get_mut(usize::from(last)) {
            *next = self.free;
        }
        self.free = head;
        self.free_count += count;
    }

    /// Asks the device for interrupts, or for none. Look once more for what is there after asking for them.
    pub fn want_interrupts(&mut self, wanted: bool) {
        self.memory.write16(self.available_at(), if wanted { 0 } else { FLAG_QUIET });
        memory_barrier();
    }
}
