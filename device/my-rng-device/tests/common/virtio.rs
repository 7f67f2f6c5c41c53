// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver of a virtio device that works through raw messages: guest memory, and a virtqueue in it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use my_rng_device::virtio::layout::NOTIFY;
use my_rng_device::virtio::transport::FEATURES;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};

use super::client::{
    BAR0, CONFIG, Client, DMA_MAP, PATIENCE, REGION_READ, REGION_WRITE, SET_IRQS, access, dma_map, write,
};

pub(crate) const MEMORY: u64 = 1 << 20;
pub(crate) const TABLE: u64 = 0x1000;
pub(crate) const DRIVER: u64 = 0x2000;
pub(crate) const DEVICE: u64 = 0x3000;
pub(crate) const BUFFERS: u64 = 0x1_0000;
pub(crate) const SIZE: u16 = 16;

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// Bits of the device's status.
pub(crate) const DRIVER_OK: u8 = 0xf;
pub(crate) const NEEDS_RESET: u8 = 0x40;

/// Interrupts, as VFIO numbers them.
pub(crate) const INTX: u32 = 0;
pub(crate) const MSIX: u32 = 2;
/// The vectors that this driver chooses.
pub(crate) const CONFIG_VECTOR: u16 = 0;
pub(crate) const QUEUE_VECTOR: u16 = 1;

/// A guest with a driver, byte by byte.
pub(crate) struct Machine {
    pub(crate) client: Client,
    pub(crate) memory: OwnedFd,
    /// Chains that were made available.
    pub(crate) index: u16,
}

impl Machine {
    pub(crate) fn over(mut client: Client) -> Self {
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, MEMORY).unwrap();
        assert_eq!(client.request(DMA_MAP, &dma_map(0, 0, MEMORY), &[memory.as_fd()]).error, 0);
        client.write(CONFIG, 4, 6);
        Self { client, memory, index: 0 }
    }

    pub(crate) fn put(&mut self, offset: u64, data: &[u8]) {
        assert_eq!(self.client.request(REGION_WRITE, &write(BAR0, offset, data), &[]).error, 0);
    }

    pub(crate) fn get<const N: usize>(&mut self, offset: u64) -> [u8; N] {
        let answer = self.client.request(REGION_READ, &access(BAR0, offset, N as u32), &[]);
        assert_eq!(answer.error, 0);
        answer.payload[16..].try_into().unwrap()
    }

    pub(crate) fn status(&mut self) -> u8 {
        let [status] = self.get(0x14);
        status
    }

    /// Does what a driver does at its start.
    pub(crate) fn initialize(&mut self, features: u64) {
        self.put(0x14, &[0]);
        self.wait("the reset", |machine| machine.status() == 0);
        pwrite(&self.memory, &[0; 0x3000], TABLE).unwrap();
        self.index = 0;
        self.put(0x14, &[3]);
        for select in 0..2_u32 {
            self.put(0x08, &select.to_le_bytes());
            self.put(0x0c, &((features >> (32 * select)) as u32).to_le_bytes());
        }
        self.put(0x14, &[0xb]);
        assert_eq!(self.status(), 0xb, "the features are agreed on");
        self.put(0x10, &CONFIG_VECTOR.to_le_bytes());
        self.put(0x18, &SIZE.to_le_bytes());
        self.put(0x1a, &QUEUE_VECTOR.to_le_bytes());
        for (place, address) in [TABLE, DRIVER, DEVICE].into_iter().enumerate() {
            self.put(0x20 + 8 * place as u64, &(address as u32).to_le_bytes());
            self.put(0x24 + 8 * place as u64, &[0; 4]);
        }
        self.put(0x1c, &[1, 0]);
        self.put(0x14, &[DRIVER_OK]);
    }

    pub(crate) fn interrupt(&mut self, index: u32, vector: u16) -> OwnedFd {
        let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let payload: Vec<u8> =
            [20, 0x24, index, vector.into(), 1].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        assert_eq!(self.client.request(SET_IRQS, &payload, &[fd.as_fd()]).error, 0);
        fd
    }

    pub(crate) fn describe(&mut self, place: u16, (address, length, flags, next): (u64, u32, u16, u16)) {
        let bytes =
            [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()];
        pwrite(&self.memory, &bytes.concat(), TABLE + u64::from(place) * 16).unwrap();
    }

    /// Makes a chain available, and rings.
    pub(crate) fn offer(&mut self, head: u16) {
        pwrite(&self.memory, &head.to_le_bytes(), DRIVER + 4 + u64::from(self.index % SIZE) * 2).unwrap();
        self.index = self.index.wrapping_add(1);
        pwrite(&self.memory, &self.index.to_le_bytes(), DRIVER + 2).unwrap();
        self.put(NOTIFY.offset.into(), &[0, 0]);
    }

    pub(crate) fn used(&self) -> u16 {
        let mut index = [0; 2];
        pread(&self.memory, &mut index, DEVICE + 2).unwrap();
        u16::from_le_bytes(index)
    }

    pub(crate) fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        pread(&self.memory, &mut bytes, address).unwrap();
        bytes
    }

    pub(crate) fn wait(&mut self, what: &str, mut until: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !until(self) {
            assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Sees whether the device works, after a reset.
    pub(crate) fn assert_works(&mut self) {
        self.initialize(FEATURES);
        self.describe(0, (BUFFERS, 64, WRITE, 0));
        pwrite(&self.memory, &[0; 64], BUFFERS).unwrap();
        self.offer(0);
        self.wait("a buffer", |machine| machine.used() == 1);
        assert_ne!(self.bytes(BUFFERS, 64), [0; 64]);
        assert_eq!(self.status(), DRIVER_OK);
    }
}
