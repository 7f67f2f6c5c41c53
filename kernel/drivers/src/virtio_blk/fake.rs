// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fake disk behind a fake virtio device. It carries requests out when it is told of them.

use std::sync::{Arc, Mutex, MutexGuard};

use exo_platform::fake::{FakeDevice, Wires, dma::device_write};

use super::format::{SERIAL_BYTES, feature};
use crate::{
    block::{
        fake_disk::FakeDisk,
        suite::{FakeController, Misdeed},
    },
    virtio::{
        fake::{Chain, FakeVirtio, Kind},
        feature::VERSION_1,
    },
};

/// The serial number that the device says.
const SERIAL: &[u8] = b"exo-0815";
/// Its queues.
const QUEUES: u16 = 4;

#[derive(Default)]
struct State {
    misdeed: Option<Misdeed>,
    is_paused: bool,
    /// It begins with what it was given only when it is told to stop.
    is_late: bool,
}

/// The device.
pub(super) struct FakeBlk {
    bus: FakeVirtio,
    disk: Arc<FakeDisk>,
    state: Mutex<State>,
}

impl FakeBlk {
    /// A device with `own_features` of virtio's own, `without` some of a disk's, and so many interrupts.
    pub(super) fn new(disk: Arc<FakeDisk>, own_features: u64, without: u64, vectors: usize) -> Arc<Self> {
        let all = feature::SEGMENTS_MAX
            | feature::BLOCK_SIZE
            | feature::FLUSH
            | feature::QUEUES
            | feature::DISCARD
            | if disk.is_read_only { feature::READ_ONLY } else { 0 };
        // Without tables, a request takes many descriptors.
        let size = if own_features & crate::virtio::feature::INDIRECT == 0 { 2048 } else { 128 };
        let mut config = vec![0; 60];
        let capacity = disk.sectors * u64::from(disk.sector_size / 512);
        config[..8].copy_from_slice(&capacity.to_le_bytes());
        config[12..16].copy_from_slice(&126u32.to_le_bytes());
        config[20..24].copy_from_slice(&disk.sector_size.to_le_bytes());
        config[34..36].copy_from_slice(&QUEUES.to_le_bytes());
        config[36..40].copy_from_slice(&0x1_0000u32.to_le_bytes());
        let features = VERSION_1 | own_features | (all & !without);
        let kind = Kind { features, queue_sizes: vec![size; QUEUES.into()], config, vectors };
        Arc::new(Self { bus: FakeVirtio::new(kind), disk, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on it does nothing before it is to be reset, and then all at once.
    pub(super) fn dawdle(&self) {
        (self.state().is_paused, self.state().is_late) = (true, true);
    }

    /// How often the device was reset.
    pub(super) fn resets(&self) -> usize {
        self.bus.lock().resets
    }

    /// Does what is to be done in all queues.
    fn work(&self) {
        let state = self.state();
        let is_silent = matches!(state.misdeed, Some(Misdeed::Silent | Misdeed::Dead | Misdeed::Gone));
        if !self.bus.is_running() || state.is_paused || is_silent {
            return;
        }
        let enabled: Vec<u16> = self
            .bus
            .lock()
            .queues
            .iter()
            .filter(|(_, queue)| queue.enabled)
            .map(|(index, _)| *index)
            .collect();
        for queue in enabled {
            while let Some(chain) = self.bus.take(queue) {
                let (status, mut answer) = match self.carry_out(&chain) {
                    Ok(answer) => (0, answer),
                    Err(status) => (status, Vec::new()),
                };
                answer.resize(chain.room() - 1, 0);
                answer.push(status);
                let written = chain.write(&answer);
                self.bus.give(queue, chain.head.into(), written);
                self.lie(state.misdeed, queue, chain.head.into(), written);
            }
        }
    }

    /// What the driver is to be given, or a status.
    fn carry_out(&self, chain: &Chain) -> Result<Vec<u8>, u8> {
        let bytes = chain.bytes();
        let (header, data) = bytes.split_at(16);
        let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let scale = u64::from(self.disk.sector_size / 512);
        let sector = number(header, 8);
        assert_eq!(sector % scale, 0, "a request begins in the middle of a block");
        let sector = sector / scale;
        let done = match number(header, 0) & 0xffff_ffff {
            0 => {
                let sectors = (chain.room() as u64 - 1) / u64::from(self.disk.sector_size);
                return self.disk.read(sector, sectors).map_err(|_| 1);
            }
            1 => self.disk.write(sector, data),
            4 => {
                self.disk.flush();
                Ok(())
            }
            8 => {
                assert_eq!(chain.room(), SERIAL_BYTES + 1);
                return Ok(SERIAL.to_vec());
            }
            11 => self.disk.discard(number(data, 0) / scale, (number(data, 8) & 0xffff_ffff) / scale),
            _ => return Err(2),
        };
        done.map(|()| Vec::new()).map_err(|_| 1)
    }

    fn lie(&self, misdeed: Option<Misdeed>, queue: u16, head: u32, written: u32) {
        match misdeed {
            Some(Misdeed::Twice) => self.bus.give(queue, head, written),
            Some(Misdeed::Unasked) => {
                let size = u32::from(self.bus.kind.queue_sizes[usize::from(queue)]);
                for id in [head + 1, 0x7fff, u32::MAX, size] {
                    self.bus.give(queue, id, 0);
                }
            }
            Some(Misdeed::Garbage) => {
                let state = self.bus.lock().queues[&queue];
                for entry in 0..u64::from(state.size) {
                    let garbage = (entry + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    device_write(state.used + 4 + 8 * entry, &garbage.to_le_bytes());
                }
                self.bus.set_given(queue, 0x5a5a);
            }
            _ => {}
        }
    }
}

impl FakeController for FakeBlk {
    fn wires(&self) -> &Wires {
        &self.bus.wires
    }

    fn pause(&self, is_paused: bool) {
        self.state().is_paused = is_paused;
        self.work();
    }

    fn misbehave(&self, misdeed: Misdeed) {
        self.state().misdeed = Some(misdeed);
        let mut bus = self.bus.lock();
        (bus.never_resets, bus.absent) = (misdeed == Misdeed::Dead, misdeed == Misdeed::Gone);
    }
}

impl FakeDevice for FakeBlk {
    fn bar_size(&self, bar: u8) -> usize {
        self.bus.bar_size(bar)
    }

    fn read(&self, bar: u8, offset: usize, size: u8) -> u64 {
        self.bus.read(bar, offset, size)
    }

    fn write(&self, bar: u8, offset: usize, size: u8, value: u64) {
        if FakeVirtio::is_reset(offset, value) && self.bus.is_running() && self.state().is_late {
            self.pause(false);
        }
        self.bus.write(bar, offset, size, value);
        if FakeVirtio::is_doorbell(offset) {
            self.work();
        } else if FakeVirtio::is_reset(offset, value) && self.state().misdeed == Some(Misdeed::Silent) {
            self.state().misdeed = None;
        }
    }

    fn interrupts(&self) -> usize {
        self.bus.interrupts()
    }

    fn capabilities(&self) -> Vec<u8> {
        self.bus.capabilities()
    }

    fn disable(&self) {
        self.bus.disable();
    }

    fn is_present(&self) -> bool {
        self.bus.is_present()
    }
}
