// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver that works through raw messages: guest memory, and a queue in it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use my_rng_abi::{queue, registers};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};

use super::client::{BAR0, CONFIG, Client, DMA_MAP, dma_map};

const STATE: u64 = 0x1000;
const DESCRIPTORS: u64 = 0x2000;
const BUFFERS: u64 = 0x10_000;
const MEMORY: u64 = 32 << 20;

/// A machine with memory that is shared with the device.
pub(crate) struct Machine {
    pub(crate) client: Client,
    pub(crate) memory: OwnedFd,
}

/// A queue of a machine, in a part of its memory of its own.
pub(crate) struct Queue {
    number: u32,
    base: u64,
    depth: u32,
    posted: u32,
}

impl Machine {
    pub(crate) fn connect(path: &Path) -> Self {
        Self::over(Client::connect(path))
    }

    /// The machine of that client.
    pub(crate) fn over(mut client: Client) -> Self {
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, MEMORY).unwrap();
        assert_eq!(client.request(DMA_MAP, &dma_map(0, 0, MEMORY), &[memory.as_fd()]).error, 0);
        client.write(CONFIG, 4, 6);
        Self { client, memory }
    }

    /// Starts a queue of `depth` buffers of so many bytes.
    pub(crate) fn start(&mut self, number: u32, depth: u32, buffer: u32) -> Queue {
        let base = u64::from(number) * (MEMORY / 4);
        for place in 0..depth {
            let address = base + BUFFERS + u64::from(place) * u64::from(buffer);
            let bytes = [&address.to_le_bytes()[..], &buffer.to_le_bytes(), &[0; 4]].concat();
            pwrite(&self.memory, &bytes, base + DESCRIPTORS + 16 * u64::from(place)).unwrap();
        }
        for (register, value) in [
            (registers::QUEUE_SELECT, number),
            (registers::QUEUE_DEPTH, depth),
            (registers::QUEUE_DESCRIPTORS_LOW, (base + DESCRIPTORS) as u32),
            (registers::QUEUE_STATE_LOW, (base + STATE) as u32),
            (registers::QUEUE_CONTROL, registers::QUEUE_ENABLE),
        ] {
            self.client.write(BAR0, register, value);
        }
        Queue { number, base, depth, posted: 0 }
    }

    /// Buffers that the device has filled.
    pub(crate) fn completed(&self, queue: &Queue) -> u32 {
        let mut bytes = [0; 4];
        pread(&self.memory, &mut bytes, queue.base + STATE + queue::COMPLETED as u64).unwrap();
        u32::from_le_bytes(bytes)
    }

    /// Posts as many buffers as there is room for, and rings.
    pub(crate) fn fill(&mut self, queue: &mut Queue) {
        let posted = self.completed(queue).wrapping_add(queue.depth);
        if posted != queue.posted {
            queue.posted = posted;
            let place = queue.base + STATE + queue::POSTED as u64;
            pwrite(&self.memory, &posted.to_le_bytes(), place).unwrap();
            self.client.write(BAR0, registers::DOORBELL, queue.number);
        }
    }
}
