// SPDX-License-Identifier: MIT OR Apache-2.0
//! The split virtqueue: a table of descriptors, a ring of what is available to the device and a ring of what it has used.
//!
//! The queue is divided into slots, each with room for one chain of descriptors; the driver says which slot it fills and gets its
//! number back when the device has used it. Source: VIRTIO 1.2, 2.7.

use exo_platform::{Dma, NoMemory, memory_barrier};

/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;

mod flag {
    /// The chain goes on.
    pub(super) const NEXT: u16 = 1;
    /// The device writes there.
    pub(super) const WRITE: u16 = 2;
    /// The descriptor names a table of descriptors.
    pub(super) const INDIRECT: u16 = 4;
    /// In the used ring: the device wants no notification.
    pub(super) const NO_NOTIFY: u16 = 1;
}

/// How a queue is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Descriptors of the table, a power of two up to 32768.
    pub size: u16,
    /// Descriptors of one slot's chain.
    pub chain: u16,
    /// Chains stand in tables of their own, so that a slot takes one descriptor of the queue's.
    pub is_indirect: bool,
    /// Both sides say when they want to be told.
    pub has_event_index: bool,
}

impl Layout {
    /// How many slots there are.
    pub fn slots(&self) -> u16 {
        if self.is_indirect { self.size } else { self.size / self.chain.max(1) }
    }

    fn available(&self) -> usize {
        usize::from(self.size) * DESCRIPTOR
    }

    fn used(&self) -> usize {
        // Two words, the ring, and where the driver says when it wants to be told.
        (self.available() + 6 + 2 * usize::from(self.size)).next_multiple_of(4)
    }

    fn tables(&self) -> usize {
        (self.used() + 6 + 8 * usize::from(self.size)).next_multiple_of(DESCRIPTOR)
    }

    fn bytes(&self) -> usize {
        let tables = if self.is_indirect { usize::from(self.size) * usize::from(self.chain) } else { 0 };
        self.tables() + tables * DESCRIPTOR
    }
}

/// A part of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Address for the device.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// The device writes there; else it reads.
    pub is_written: bool,
}

/// What the device says that it has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// It has used a slot's chain and written so many bytes. Whether the slot was its to use is for the driver to check.
    Slot {
        /// The slot.
        slot: u16,
        /// Bytes that it says it has written.
        written: u32,
    },
    /// It names a chain that cannot be.
    Nonsense,
}

/// The memory of one virtqueue.
#[derive(Debug)]
pub struct Queue {
    memory: Dma,
    layout: Layout,
    /// Chains made available, whether the device can see them or not.
    filled: u16,
    /// What the device was last told.
    published: u16,
    /// Chains taken back.
    taken: u16,
}

impl Queue {
    /// A queue in memory of NUMA node `node`, if that is given.
    ///
    /// # Errors
    /// [`NoMemory`], also for a layout without slots.
    pub fn new(layout: Layout, node: Option<u32>) -> Result<Self, NoMemory> {
        if !layout.size.is_power_of_two() || layout.size > 1 << 15 || layout.chain == 0 || layout.slots() == 0
        {
            return Err(NoMemory);
        }
        let memory = Dma::new(layout.bytes(), DESCRIPTOR, node)?;
        Ok(Self { memory, layout, filled: 0, published: 0, taken: 0 })
    }

    /// How it is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Addresses of the descriptors, the available ring and the used ring.
    pub fn addresses(&self) -> [u64; 3] {
        [0, self.layout.available(), self.layout.used()].map(|offset| self.memory.address() + offset as u64)
    }

    /// Forgets everything; for a device that was reset.
    pub fn reset(&mut self) {
        (self.filled, self.published, self.taken) = (0, 0, 0);
        for offset in [self.layout.available(), self.layout.used()] {
            self.memory.write16(offset, 0);
            self.memory.write16(offset + 2, 0);
        }
        self.ask_for_interrupt(0);
        if self.layout.has_event_index {
            // What the device wanted to be told of before it was reset.
            self.memory.write16(self.layout.used() + 4 + 8 * usize::from(self.layout.size), 0);
        }
    }

    fn set_descriptor(&self, offset: usize, part: Part, flags: u16, next: u16) {
        let written = if part.is_written { flag::WRITE } else { 0 };
        self.memory.write64(offset, part.address);
        self.memory.write32(offset + 8, part.length);
        self.memory.write16(offset + 12, flags | written);
        self.memory.write16(offset + 14, next);
    }

    /// Fills a slot with a chain and makes it available; the device may see it when [`publish`](Self::publish) is called. False, and
    /// nothing is done, if the chain is empty or does not fit.
    pub fn push(&mut self, slot: u16, parts: impl Iterator<Item = Part>) -> bool {
        if slot >= self.layout.slots() {
            return false;
        }
        let (table, first, head) = if self.layout.is_indirect {
            let at = usize::from(slot) * usize::from(self.layout.chain) * DESCRIPTOR;
            (self.layout.tables() + at, 0, slot)
        } else {
            let head = slot * self.layout.chain;
            (usize::from(head) * DESCRIPTOR, head, head)
        };
        let mut count = 0;
        let mut parts = parts.peekable();
        while let Some(part) = parts.next() {
            if count == self.layout.chain {
                return false;
            }
            let flags = if parts.peek().is_some() { flag::NEXT } else { 0 };
            let next = first.wrapping_add(count).wrapping_add(1);
            self.set_descriptor(table + usize::from(count) * DESCRIPTOR, part, flags, next);
            count += 1;
        }
        if count == 0 {
            return false;
        }
        if self.layout.is_indirect {
            let address = self.memory.address() + table as u64;
            let part = Part { address, length: u32::from(count) * DESCRIPTOR as u32, is_written: false };
            self.set_descriptor(usize::from(slot) * DESCRIPTOR, part, flag::INDIRECT, 0);
        }
        let place = usize::from(self.filled & (self.layout.size - 1));
        self.memory.write16(self.layout.available() + 4 + 2 * place, head);
        self.filled = self.filled.wrapping_add(1);
        true
    }

    /// Takes the chain of `slot` back, if it was filled and not published yet.
    pub fn withdraw(&mut self, slot: u16) -> bool {
        let head = if self.layout.is_indirect { slot } else { slot.wrapping_mul(self.layout.chain) };
        let at =
            |position: u16| self.layout.available() + 4 + 2 * usize::from(position & (self.layout.size - 1));
        let mut position = self.published;
        while position != self.filled && self.memory.read16(at(position)) != head {
            position = position.wrapping_add(1);
        }
        if position == self.filled {
            return false;
        }
        // Those behind it move up.
        loop {
            let next = position.wrapping_add(1);
            if next == self.filled {
                break;
            }
            self.memory.write16(at(position), self.memory.read16(at(next)));
            position = next;
        }
        self.filled = position;
        true
    }

    /// Lets the device see what was filled; whether it wants to be notified of it.
    pub fn publish(&mut self) -> bool {
        if self.filled == self.published {
            return false;
        }
        let (old, new) = (self.published, self.filled);
        self.memory.write16(self.layout.available() + 2, new);
        self.published = new;
        // The device looks at the index before it says that it sleeps; we write it before we look whether it does.
        memory_barrier();
        if self.layout.has_event_index {
            let wanted = self.memory.read16(self.layout.used() + 4 + 8 * usize::from(self.layout.size));
            // Whether `wanted` is among what is new.
            new.wrapping_sub(wanted).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.memory.read16(self.layout.used()) & flag::NO_NOTIFY == 0
        }
    }

    /// Asks for an interrupt when the device has used chain number `count`.
    fn ask_for_interrupt(&self, count: u16) {
        if self.layout.has_event_index {
            let at = self.layout.available() + 4 + 2 * usize::from(self.layout.size);
            self.memory.write16(at, count);
        }
    }

    /// Whether the device has used something that was not taken yet.
    #[inline]
    pub fn has_used(&self) -> bool {
        self.memory.read16(self.layout.used() + 2) != self.taken
    }

    /// Takes the next chain that the device has used. When there is none, an interrupt for the next is asked for.
    #[inline]
    pub fn pop(&mut self) -> Option<Used> {
        if !self.has_used() {
            self.ask_for_interrupt(self.taken);
            memory_barrier();
            // One that came before the device saw that gives no interrupt.
            if !self.has_used() {
                return None;
            }
        }
        let place = usize::from(self.taken & (self.layout.size - 1));
        let at = self.layout.used() + 4 + 8 * place;
        let (id, written) = (self.memory.read32(at), self.memory.read32(at + 4));
        self.taken = self.taken.wrapping_add(1);
        let chain = if self.layout.is_indirect { 1 } else { u32::from(self.layout.chain) };
        let slot = u16::try_from(id / chain).ok().filter(|slot| *slot < self.layout.slots());
        match slot {
            Some(slot) if id % chain == 0 => Some(Used::Slot { slot, written }),
            _ => Some(Used::Nonsense),
        }
    }
}

#[cfg(test)]
mod tests {
    use exo_platform::fake::dma::{device_read16, device_read32, device_read64, device_write};

    use super::*;

    fn part(address: u64, length: u32, is_written: bool) -> Part {
        Part { address, length, is_written }
    }

    fn queue(is_indirect: bool, has_event_index: bool) -> Queue {
        Queue::new(Layout { size: 8, chain: 4, is_indirect, has_event_index }, None).unwrap()
    }

    fn use_chain(queue: &Queue, index: u16, id: u32, written: u32) {
        let used = queue.addresses()[2];
        let at = used + 4 + 8 * u64::from(index % 8);
        assert!(device_write(at, &id.to_le_bytes()) && device_write(at + 4, &written.to_le_bytes()));
        assert!(device_write(used + 2, &index.wrapping_add(1).to_le_bytes()));
    }

    #[test]
    fn chains_without_tables_stand_side_by_side() {
        let mut queue = queue(false, false);
        assert_eq!(queue.layout().slots(), 2);
        assert!(queue.push(1, [part(0x1000, 16, false), part(0x2000, 512, true)].into_iter()));
        assert!(!queue.push(2, [part(0, 1, false)].into_iter()), "there is no third slot");
        let [table, available, _] = queue.addresses();
        assert_eq!(device_read16(available + 2), 0, "not published yet");
        assert!(queue.publish() && !queue.publish());
        assert_eq!((device_read16(available + 2), device_read16(available + 4)), (1, 4));
        let descriptor = |i: u64| {
            let at = table + 16 * i;
            (device_read64(at), device_read32(at + 8), device_read16(at + 12), device_read16(at + 14))
        };
        assert_eq!(descriptor(4), (0x1000, 16, 1, 5));
        assert_eq!((descriptor(5).0, descriptor(5).1, descriptor(5).2), (0x2000, 512, 2));
        use_chain(&queue, 0, 4, 513);
        assert_eq!(queue.pop(), Some(Used::Slot { slot: 1, written: 513 }));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn chains_in_tables_take_one_descriptor_each() {
        let mut queue = queue(true, false);
        assert_eq!(queue.layout().slots(), 8);
        let parts = [part(0x1000, 16, false), part(0x2000, 512, false), part(0x3000, 1, true)];
        assert!(queue.push(7, parts.into_iter()));
        let too_long = std::iter::repeat_n(part(1, 1, false), 5);
        assert!(!queue.push(6, too_long) && !queue.push(6, [].into_iter()));
        queue.publish();
        let [table, available, _] = queue.addresses();
        assert_eq!((device_read16(available + 2), device_read16(available + 4)), (1, 7));
        let at = table + 16 * 7;
        assert_eq!((device_read32(at + 8), device_read16(at + 12)), (48, 4));
        let inner = device_read64(at);
        assert_eq!(device_read64(inner + 32), 0x3000);
        assert_eq!(
            (device_read16(inner + 12), device_read16(inner + 14), device_read16(inner + 44)),
            (1, 1, 2)
        );
    }

    #[test]
    fn what_the_device_makes_up_is_nonsense() {
        let mut queue = queue(false, false);
        for (index, id) in [1, 5, 8, 0xffff_ffff].into_iter().enumerate() {
            use_chain(&queue, index as u16, id, 0);
            assert_eq!(queue.pop(), Some(Used::Nonsense), "{id}");
        }
    }

    #[test]
    fn the_device_is_notified_when_it_wants_to_be() {
        let mut queue = queue(true, true);
        let wanted_at = queue.addresses()[2] + 4 + 8 * 8;
        let tell = |queue: &mut Queue, wanted: u16, count: u16| {
            device_write(wanted_at, &wanted.to_le_bytes());
            for slot in 0..count {
                queue.push(slot, [part(1, 1, false)].into_iter());
            }
            queue.publish()
        };
        assert!(tell(&mut queue, 0, 1), "at the first");
        assert!(!tell(&mut queue, 0, 2), "that was before");
        assert!(!tell(&mut queue, 5, 2), "that is not yet");
        assert!(tell(&mut queue, 5, 2));
    }

    #[test]
    fn an_interrupt_is_asked_for_when_there_is_nothing_left() {
        let mut queue = queue(true, true);
        let asked = queue.addresses()[1] + 4 + 2 * 8;
        use_chain(&queue, 0, 3, 0);
        use_chain(&queue, 1, 4, 0);
        assert!(queue.pop().is_some() && queue.pop().is_some());
        assert_eq!(device_read16(asked), 0);
        assert_eq!(queue.pop(), None);
        assert_eq!(device_read16(asked), 2);
    }

    #[test]
    fn chains_that_the_device_does_not_know_are_taken_back() {
        let mut queue = queue(true, false);
        let fill = |queue: &mut Queue, slot| queue.push(slot, [part(1, 1, false)].into_iter());
        for slot in [3, 4, 5] {
            fill(&mut queue, slot);
        }
        assert!(queue.withdraw(4) && !queue.withdraw(4));
        queue.publish();
        let available = queue.addresses()[1];
        let heads = [4, 6].map(|offset| device_read16(available + offset));
        assert_eq!((device_read16(available + 2), heads), (2, [3, 5]));
        fill(&mut queue, 6);
        assert!(!queue.withdraw(3) && queue.withdraw(6) && !queue.publish());
    }
}
