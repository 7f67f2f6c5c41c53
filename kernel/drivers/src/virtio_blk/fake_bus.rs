// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fake virtio device on PCI: the common registers and the device's side of the queues. What it does with a chain is its
//! backend's.

use std::sync::{Arc, Mutex, MutexGuard};

use exo_platform::fake::{
    FakeDevice, Wires,
    dma::{device_read, device_read16, device_read32, device_read64, device_write},
};

use crate::{
    block::suite::{FakeController, Misdeed},
    virtio::feature,
};

/// A part of a chain, as the device sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FakePart {
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) is_written: bool,
}

/// What a device does.
pub(crate) trait Backend: Send + Sync {
    /// Feature bits beside virtio's own.
    fn features(&self) -> u64;
    /// The device's own registers.
    fn registers(&self) -> Vec<u8>;
    /// Queues.
    fn queues(&self) -> u16;
    /// Carries out what a chain asks for; bytes written. None: it never answers.
    fn handle(&self, queue: u16, chain: &[FakePart]) -> Option<u32>;
}

#[derive(Clone, Default)]
struct QueueState {
    size: u16,
    vector: u16,
    is_enabled: bool,
    addresses: [u64; 3],
    taken: u16,
    used: u16,
}

struct State {
    status: u8,
    selects: [u32; 2],
    features: u64,
    queue_select: u16,
    queues: Vec<QueueState>,
    misdeed: Misdeed,
    is_paused: bool,
    resets: usize,
}

/// The device.
pub(crate) struct FakeVirtio<B> {
    pub(crate) backend: B,
    wires: Wires,
    /// Descriptors of a queue.
    size: u16,
    own_features: u64,
    vectors: usize,
    state: Mutex<State>,
}

const COMMON: usize = 0;
const INTERRUPT_STATUS: usize = 0x100;
const DEVICE: usize = 0x200;
const NOTIFY: usize = 0x1000;
const MULTIPLIER: u32 = 4;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

impl<B: Backend> FakeVirtio<B> {
    /// A device whose queues have `size` descriptors and that offers `own_features` of virtio's own.
    pub(crate) fn new(backend: B, size: u16, own_features: u64, vectors: usize) -> Arc<Self> {
        let queues = vec![QueueState::default(); usize::from(backend.queues())];
        let state = State {
            status: 0,
            selects: [0; 2],
            features: 0,
            queue_select: 0,
            queues,
            misdeed: Misdeed::None,
            is_paused: false,
            resets: 0,
        };
        Arc::new(Self {
            backend,
            wires: Wires::new(),
            size,
            own_features: own_features | feature::VERSION_1,
            vectors,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How often the device was reset.
    pub(crate) fn resets(&self) -> usize {
        self.state().resets
    }

    fn chain(queue: &QueueState, head: u16) -> Vec<FakePart> {
        let mut parts = Vec::new();
        let (mut table, mut count, mut next) = (queue.addresses[0], u64::from(queue.size), u64::from(head));
        loop {
            assert!(next < count, "the driver names a descriptor that is not there");
            assert!(parts.len() < 1000, "the driver's chain goes in circles");
            let at = table + 16 * next;
            let (address, length) = (device_read64(at), device_read32(at + 8));
            let flags = device_read16(at + 12);
            if flags & INDIRECT != 0 {
                (table, count, next) = (address, u64::from(length / 16), 0);
                continue;
            }
            parts.push(FakePart { address, length, is_written: flags & WRITE != 0 });
            if flags & NEXT == 0 {
                return parts;
            }
            next = u64::from(device_read16(at + 14));
        }
    }

    fn post(queue: &mut QueueState, id: u32, written: u32) {
        let at = queue.addresses[2] + 4 + 8 * u64::from(queue.used % queue.size);
        device_write(at, &id.to_le_bytes());
        device_write(at + 4, &written.to_le_bytes());
        queue.used = queue.used.wrapping_add(1);
        device_write(queue.addresses[2] + 2, &queue.used.to_le_bytes());
    }

    /// Does what is to be done in all queues.
    fn work(&self) {
        let mut state = self.state();
        let is_silent = matches!(state.misdeed, Misdeed::Silent | Misdeed::Dead | Misdeed::Gone);
        if state.status & 4 == 0 || state.is_paused || is_silent {
            return;
        }
        let misdeed = state.misdeed;
        for index in 0..state.queues.len() {
            let Some(queue) = state.queues.get_mut(index).filter(|queue| queue.is_enabled) else { continue };
            let mut has_ended = false;
            while device_read16(queue.addresses[1] + 2) != queue.taken {
                let at = queue.addresses[1] + 4 + 2 * u64::from(queue.taken % queue.size);
                let head = device_read16(at);
                queue.taken = queue.taken.wrapping_add(1);
                // Tell the driver to notify us of the next one.
                let wanted_at = queue.addresses[2] + 4 + 8 * u64::from(queue.size);
                device_write(wanted_at, &queue.taken.to_le_bytes());
                let chain = Self::chain(queue, head);
                let Some(written) = self.backend.handle(index as u16, &chain) else { continue };
                has_ended = true;
                Self::post(queue, head.into(), written);
                match misdeed {
                    Misdeed::Twice => Self::post(queue, head.into(), written),
                    Misdeed::Unasked => {
                        for id in [u32::from(head) + 1, 0x7fff, u32::MAX, u32::from(queue.size)] {
                            Self::post(queue, id, 0);
                        }
                    }
                    Misdeed::Garbage => {
                        for entry in 0..u64::from(queue.size) {
                            let garbage = (entry + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                            device_write(queue.addresses[2] + 4 + 8 * entry, &garbage.to_le_bytes());
                        }
                        device_write(queue.addresses[2] + 2, &0x5a5au16.to_le_bytes());
                    }
                    _ => {}
                }
            }
            if has_ended && queue.vector != 0xffff {
                self.wires.raise(usize::from(queue.vector));
            } else if has_ended {
                self.wires.raise(0);
            }
        }
    }

    fn reset(&self, state: &mut State) {
        if state.misdeed == Misdeed::Dead {
            return;
        }
        if state.misdeed == Misdeed::Silent {
            state.misdeed = Misdeed::None;
        }
        state.resets += 1;
        state.status = 0;
        state.features = 0;
        state.queues.fill(QueueState { vector: 0xffff, size: self.size, ..QueueState::default() });
    }

    fn read_common(&self, offset: usize) -> u64 {
        let state = self.state();
        let queue = state.queues.get(usize::from(state.queue_select));
        match offset {
            0x04 => {
                ((self.own_features | self.backend.features()) >> (32 * state.selects[0].min(2)))
                    & 0xffff_ffff
            }
            0x12 => self.backend.queues().into(),
            0x14 => state.status.into(),
            0x15 => 0,
            0x18 => queue.map_or(0, |q| if q.size == 0 { self.size } else { q.size }).into(),
            0x1a => queue.map_or(0xffff, |q| q.vector).into(),
            0x1c => queue.is_some_and(|q| q.is_enabled).into(),
            0x1e => state.queue_select.into(),
            _ => 0,
        }
    }

    fn write_common(&self, offset: usize, value: u64) {
        let mut state = self.state();
        let state = &mut *state;
        match offset {
            0x00 => state.selects[0] = value as u32,
            0x08 => state.selects[1] = value as u32,
            0x0c if state.selects[1] < 2 => state.features |= value << (32 * state.selects[1]),
            0x14 if value == 0 => self.reset(state),
            0x14 => {
                state.status = value as u8;
                let offered = self.own_features | self.backend.features();
                if state.features & !offered != 0 {
                    state.status &= !8;
                }
            }
            0x16 => state.queue_select = value as u16,
            _ => {}
        }
        let Some(queue) = state.queues.get_mut(usize::from(state.queue_select)) else { return };
        match offset {
            0x18 => queue.size = value as u16,
            0x1a => queue.vector = if (value as usize) < self.vectors { value as u16 } else { 0xffff },
            0x1c => queue.is_enabled = value == 1,
            0x20..0x38 => {
                let which = (offset - 0x20) / 8;
                let shift = 8 * (offset % 8);
                let mask = 0xffff_ffff << shift;
                let address = &mut queue.addresses[which];
                *address = *address & !mask | (value << shift);
            }
            _ => {}
        }
    }
}

impl<B: Backend + 'static> FakeController for FakeVirtio<B> {
    fn wires(&self) -> &Wires {
        &self.wires
    }

    fn misbehave(&self, misdeed: Misdeed) {
        self.state().misdeed = misdeed;
    }

    fn pause(&self, is_paused: bool) {
        self.state().is_paused = is_paused;
        self.work();
    }
}

impl<B: Backend> FakeDevice for FakeVirtio<B> {
    fn bar_size(&self, bar: u8) -> usize {
        if bar == 4 { 0x2000 } else { 0 }
    }

    fn read(&self, _bar: u8, offset: usize, size: u8) -> u64 {
        match offset {
            COMMON..0x40 => self.read_common(offset),
            DEVICE..NOTIFY => {
                let registers = self.backend.registers();
                let byte = |at: usize| u64::from(registers.get(offset - DEVICE + at).copied().unwrap_or(0));
                (0..usize::from(size)).fold(0, |value, at| value | (byte(at) << (8 * at)))
            }
            INTERRUPT_STATUS => 1,
            _ => 0,
        }
    }

    fn write(&self, _bar: u8, offset: usize, _size: u8, value: u64) {
        match offset {
            COMMON..0x40 => self.write_common(offset, value),
            NOTIFY.. => self.work(),
            _ => {}
        }
    }

    fn interrupts(&self) -> usize {
        self.vectors
    }

    fn capabilities(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let places = [(1, COMMON, 0x40), (3, INTERRUPT_STATUS, 4), (4, DEVICE, 0x100), (2, NOTIFY, 0x1000)];
        for (kind, offset, length) in places {
            let next = if kind == 2 { 0 } else { 0x40 + bytes.len() as u8 + 16 };
            bytes.extend([9, next, if kind == 2 { 20 } else { 16 }, kind, 4, 0, 0, 0]);
            bytes.extend((offset as u32).to_le_bytes());
            bytes.extend((length as u32).to_le_bytes());
        }
        bytes.extend(MULTIPLIER.to_le_bytes());
        bytes
    }

    fn is_present(&self) -> bool {
        self.state().misdeed != Misdeed::Gone
    }
}

/// Reads a part's bytes, as the device may.
pub(crate) fn read_part(part: &FakePart) -> Vec<u8> {
    assert!(!part.is_written, "the device was given this to write");
    let mut bytes = vec![0; part.length as usize];
    device_read(part.address, &mut bytes);
    bytes
}

/// Writes to a part's start; bytes written.
pub(crate) fn write_part(part: &FakePart, bytes: &[u8]) -> u32 {
    assert!(part.is_written, "the device was given this to read");
    let count = bytes.len().min(part.length as usize);
    device_write(part.address, &bytes[..count]);
    count as u32
}
