// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtio device that tests make up: the registers of the transport, and the device's side of a queue.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use exo_platform::{
    fake::{
        FakeDevice, Wires,
        dma::{device_read, device_read16, device_read32, device_read64, device_write},
    },
    pci::{Address, Function, Identity},
};

use super::{
    VENDOR, common,
    feature::{EVENT_INDEX, INDIRECT, VERSION_1},
    status,
};

const COMMON_AT: usize = 0x1000;
const INTERRUPT_AT: usize = 0x2000;
const DEVICE_AT: usize = 0x3000;
const NOTIFY_AT: usize = 0x4000;
const MULTIPLIER: usize = 4;

/// What a device is.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) features: u64,
    pub(crate) queue_sizes: Vec<u16>,
    pub(crate) config: Vec<u8>,
    /// Interrupts of its table.
    pub(crate) vectors: usize,
}

/// A queue as the driver has set it up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FakeQueue {
    pub(crate) size: u16,
    pub(crate) vector: u16,
    pub(crate) enabled: bool,
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    /// Chains that the device has taken and given back.
    pub(crate) taken: u16,
    pub(crate) given: u16,
}

/// A chain that the device has taken: what it may read, and what it may write.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) head: u16,
    pub(crate) readable: Vec<(u64, u32)>,
    pub(crate) writable: Vec<(u64, u32)>,
}

impl Chain {
    /// Bytes that it may write.
    pub(crate) fn room(&self) -> usize {
        self.writable.iter().map(|part| part.1 as usize).sum()
    }

    /// All that it may read.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for &(address, length) in &self.readable {
            let mut part = vec![0; length as usize];
            assert!(device_read(address, &mut part), "the driver has given memory that is not its own");
            out.extend(part);
        }
        out
    }

    /// Writes as much as there is room for; how much.
    pub(crate) fn write(&self, bytes: &[u8]) -> u32 {
        let mut rest = bytes;
        for &(address, length) in &self.writable {
            let (now, later) = rest.split_at(rest.len().min(length as usize));
            assert!(device_write(address, now), "the driver has given memory that is not its own");
            rest = later;
        }
        (bytes.len() - rest.len()) as u32
    }
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) status: u8,
    pub(crate) agreed: u64,
    select: [u32; 2],
    queue_select: u16,
    pub(crate) queues: BTreeMap<u16, FakeQueue>,
    pub(crate) doorbells: Vec<u16>,
    pub(crate) absent: bool,
    pub(crate) never_resets: bool,
    pub(crate) disagrees: bool,
    pub(crate) generation: u8,
    pub(crate) restless: bool,
    pub(crate) interrupt_status: u8,
    /// How often the driver has reset it.
    pub(crate) resets: usize,
}

/// The device.
pub(crate) struct FakeVirtio {
    pub(crate) kind: Kind,
    pub(crate) wires: Wires,
    inner: Mutex<Inner>,
}

impl FakeVirtio {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, wires: Wires::new(), inner: Mutex::default() }
    }

    /// The PCI function of such a device, a network card.
    pub(crate) fn function(self: &Arc<Self>) -> Function {
        let identity = Identity {
            vendor: VENDOR,
            device: 0x1041,
            revision: 1,
            class: 2,
            subclass: 0,
            interface: 0,
            subsystem_vendor: VENDOR,
            subsystem: 1,
        };
        let address = Address { segment: 0, bus: 0, device: 4, function: 0 };
        Function::fake(address, identity, self.clone(), self.wires.clone())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.lock().status & status::DRIVER_OK != 0
    }

    /// Whether a write to this place is a doorbell.
    pub(crate) fn is_doorbell(offset: usize) -> bool {
        offset >= NOTIFY_AT
    }

    /// Whether this write resets the device.
    pub(crate) fn is_reset(offset: usize, value: u64) -> bool {
        offset == COMMON_AT + common::STATUS && value == 0
    }

    /// Takes the next chain that the driver has made available.
    pub(crate) fn take(&self, index: u16) -> Option<Chain> {
        let mut inner = self.lock();
        let agreed = inner.agreed;
        let queue = inner.queues.get_mut(&index)?;
        assert!(queue.enabled, "queue {index} is not enabled");
        let published = device_read16(queue.available + 2);
        let waiting = published.wrapping_sub(queue.taken);
        assert!(waiting <= queue.size, "more chains than entries");
        if waiting == 0 {
            return None;
        }
        let head = device_read16(queue.available + 4 + 2 * u64::from(queue.taken % queue.size));
        queue.taken = queue.taken.wrapping_add(1);
        if agreed & EVENT_INDEX != 0 {
            // It wants to be told of the next one.
            let wanted_at = queue.used + 4 + 8 * u64::from(queue.size);
            assert!(device_write(wanted_at, &queue.taken.to_le_bytes()));
        }
        let (mut readable, mut writable, mut number) = (Vec::new(), Vec::new(), head);
        let (mut table, mut entries) = (queue.descriptors, u32::from(queue.size));
        loop {
            assert!(u32::from(number) < entries, "a descriptor that is not there");
            assert!(readable.len() + writable.len() < entries as usize, "a chain that goes in circles");
            let at = table + 16 * u64::from(number);
            let (address, length) = (device_read64(at), device_read32(at + 8));
            let (flags, next) = (device_read16(at + 12), device_read16(at + 14));
            assert_eq!(flags & !7, 0, "unknown flags");
            if flags & 4 != 0 {
                assert!(agreed & INDIRECT != 0 && flags == 4 && table == queue.descriptors);
                (table, entries, number) = (address, length / 16, 0);
                continue;
            }
            if flags & 2 != 0 {
                writable.push((address, length));
            } else {
                assert!(writable.is_empty(), "what is read must come first");
                readable.push((address, length));
            }
            if flags & 1 == 0 {
                return Some(Chain { head, readable, writable });
            }
            number = next;
        }
    }

    /// Gives a chain back, and interrupts if the driver wants that.
    pub(crate) fn give(&self, index: u16, head: u32, written: u32) {
        let mut inner = self.lock();
        let agreed = inner.agreed;
        let queue = inner.queues.get_mut(&index).unwrap();
        let at = queue.used + 4 + 8 * u64::from(queue.given % queue.size);
        assert!(device_write(at, &head.to_le_bytes()) && device_write(at + 4, &written.to_le_bytes()));
        let old = queue.given;
        queue.given = old.wrapping_add(1);
        assert!(device_write(queue.used + 2, &queue.given.to_le_bytes()));
        let is_wanted = if agreed & EVENT_INDEX != 0 {
            device_read16(queue.available + 4 + 2 * u64::from(queue.size)) == old
        } else {
            device_read16(queue.available) & 1 == 0
        };
        let vector = queue.vector;
        if is_wanted {
            inner.interrupt_status |= 1;
            if vector != 0xffff {
                self.wires.raise(vector.into());
            } else if self.kind.vectors < 2 {
                // Without a table, one interrupt is everybody's.
                self.wires.raise(0);
            }
        }
    }

    /// Says that so many chains were given back, whether it is so or not.
    pub(crate) fn set_given(&self, index: u16, given: u16) {
        let used = self.lock().queues[&index].used;
        assert!(device_write(used + 2, &given.to_le_bytes()));
    }
}

impl FakeDevice for FakeVirtio {
    fn bar_size(&self, bar: u8) -> usize {
        if bar == 4 { 0x5000 } else { 0 }
    }

    fn capabilities(&self) -> Vec<u8> {
        let places = [
            (1, COMMON_AT, 0x38),
            (3, INTERRUPT_AT, 1),
            (4, DEVICE_AT, self.kind.config.len()),
            (2, NOTIFY_AT, self.kind.queue_sizes.len() * MULTIPLIER),
        ];
        let mut out = Vec::new();
        let mut at = 0x40;
        for (number, (kind, offset, length)) in places.into_iter().enumerate() {
            let size = if kind == 2 { 20 } else { 16 };
            let next = if number + 1 == places.len() { 0 } else { at + size };
            out.extend([9, next, size, kind, 4, 0, 0, 0]);
            out.extend(u32::try_from(offset).unwrap().to_le_bytes());
            out.extend(u32::try_from(length).unwrap().to_le_bytes());
            if kind == 2 {
                out.extend((MULTIPLIER as u32).to_le_bytes());
            }
            at += size;
        }
        out
    }

    fn read(&self, _bar: u8, offset: usize, size: u8) -> u64 {
        let mut inner = self.lock();
        if offset == INTERRUPT_AT {
            return u64::from(std::mem::take(&mut inner.interrupt_status));
        }
        if let Some(at) = offset.checked_sub(DEVICE_AT).filter(|_| offset < NOTIFY_AT) {
            let bytes = (0..usize::from(size)).map(|i| self.kind.config.get(at + i).copied().unwrap_or(0));
            return bytes.enumerate().fold(0, |sum, (i, byte)| sum | (u64::from(byte) << (8 * i)));
        }
        let queue = inner.queues.get(&inner.queue_select).copied().unwrap_or_default();
        let exists = self.kind.queue_sizes.get(usize::from(inner.queue_select)).copied();
        match offset.wrapping_sub(COMMON_AT) {
            common::DEVICE_FEATURE => (self.kind.features >> (32 * inner.select[0])) & 0xffff_ffff,
            common::QUEUES => self.kind.queue_sizes.len() as u64,
            common::STATUS => inner.status.into(),
            common::GENERATION => {
                if inner.restless {
                    inner.generation = inner.generation.wrapping_add(1);
                }
                inner.generation.into()
            }
            common::QUEUE_SIZE => u64::from(if queue.size > 0 { queue.size } else { exists.unwrap_or(0) }),
            common::QUEUE_VECTOR => queue.vector.into(),
            common::QUEUE_ENABLE => queue.enabled.into(),
            common::QUEUE_NOTIFY => inner.queue_select.into(),
            _ => 0,
        }
    }

    fn write(&self, _bar: u8, offset: usize, _size: u8, value: u64) {
        let mut inner = self.lock();
        if let Some(at) = offset.checked_sub(NOTIFY_AT) {
            assert_eq!((at / MULTIPLIER) as u64, value, "the doorbell of another queue");
            inner.doorbells.push(value as u16);
            return;
        }
        let (selected, vectors) = (inner.queue_select, self.kind.vectors);
        let low = |word: &mut u64| *word = ((*word >> 32) << 32) | value;
        let high = |word: &mut u64| *word = (*word & 0xffff_ffff) | (value << 32);
        match offset.wrapping_sub(COMMON_AT) {
            common::DEVICE_FEATURE_SELECT => inner.select[0] = value as u32,
            common::DRIVER_FEATURE_SELECT => inner.select[1] = value as u32,
            common::DRIVER_FEATURE => {
                let shift = 32 * inner.select[1];
                inner.agreed = (inner.agreed & !(0xffff_ffff << shift)) | (value << shift);
            }
            common::STATUS if value == 0 && inner.never_resets => {}
            common::STATUS if value == 0 => {
                let Inner { absent, disagrees, restless, resets, .. } = *inner;
                *inner = Inner { absent, disagrees, restless, resets: resets + 1, ..Inner::default() };
            }
            common::STATUS => {
                let agrees = inner.agreed & !self.kind.features == 0
                    && inner.agreed & VERSION_1 != 0
                    && !inner.disagrees;
                let refused = if agrees { 0 } else { status::FEATURES_OK };
                inner.status = value as u8 & !refused;
            }
            common::QUEUE_SELECT => inner.queue_select = value as u16,
            place => {
                let queue = inner.queues.entry(selected).or_default();
                match place {
                    common::QUEUE_SIZE => queue.size = value as u16,
                    common::QUEUE_VECTOR => {
                        queue.vector = if (value as usize) < vectors { value as u16 } else { 0xffff };
                    }
                    common::QUEUE_ENABLE => queue.enabled = value == 1,
                    0x20 => low(&mut queue.descriptors),
                    0x24 => high(&mut queue.descriptors),
                    0x28 => low(&mut queue.available),
                    0x2c => high(&mut queue.available),
                    0x30 => low(&mut queue.used),
                    0x34 => high(&mut queue.used),
                    _ => {}
                }
            }
        }
    }

    fn interrupts(&self) -> usize {
        self.kind.vectors
    }

    fn disable(&self) {
        let inner = self.lock();
        if inner.status & status::DRIVER_OK != 0 && !inner.absent {
            // It looks for work once more.
            for queue in inner.queues.values().filter(|queue| queue.enabled) {
                device_read16(queue.available + 2);
            }
        }
    }

    fn is_present(&self) -> bool {
        !self.lock().absent
    }
}
