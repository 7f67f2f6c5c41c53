// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine is to the device: memory that it shares, and a driver that keeps one queue of the entropy stream busy.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::thread;

use anyhow::{Context as _, anyhow, bail, ensure};
use my_rng_abi::queue::{DESCRIPTOR_ADDRESS, DESCRIPTOR_LENGTH, DESCRIPTOR_SIZE, STATE_SIZE, STREAM_ENTROPY};
use my_rng_abi::registers::{
    DOORBELL, FEATURE_QUEUES, FEATURES, NO_VECTOR, QUEUE_CONTROL, QUEUE_DEPTH, QUEUE_DESCRIPTORS_HIGH,
    QUEUE_DESCRIPTORS_LOW, QUEUE_ENABLE, QUEUE_SELECT, QUEUE_STATE_HIGH, QUEUE_STATE_LOW, QUEUE_STREAM_SHIFT,
    QUEUE_VECTOR, REGISTER_BAR,
};
use my_rng_ring::{Layout, Ring, State};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_user::Client;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// The queue that is used.
const QUEUE: u32 = 0;
/// As a driver would have them: together they fit into a core's own cache.
const DEPTH: u32 = 64;
const BUFFER_SIZE: u32 = 16 << 10;

/// Where the queue's parts are in the memory, which begins at address 0 for the device.
const DESCRIPTORS: usize = 0;
const STATE: usize = STATE_SIZE;
const BUFFERS: usize = 64 << 10;
pub(crate) const SIZE: usize = BUFFERS + DEPTH as usize * BUFFER_SIZE as usize;

const _: () = assert!(DEPTH as usize * DESCRIPTOR_SIZE <= STATE && STATE + STATE_SIZE <= BUFFERS);

/// The configuration space, as `VFIO_PCI_CONFIG_REGION_INDEX` of `linux/vfio.h`.
const CONFIG_REGION: u32 = 7;
/// PCI's command register, and what allows a device to be read and to write to memory.
const PCI_COMMAND: u64 = 4;
const PCI_COMMAND_MEMORY_AND_MASTER: u16 = 0x6;

/// The memory, which the device has mapped as well.
#[derive(Debug)]
struct Memory(MmapRegion);

/// A machine with one queue that runs.
pub(crate) struct Guest {
    registers: Registers,
    ring: Ring<Memory>,
    copy: Vec<u8>,
}

impl Guest {
    /// Connects to the device and starts the queue.
    pub(crate) fn attach(socket: &Path) -> anyhow::Result<Self> {
        let (mut registers, memory) = connect(socket)?;
        let features = registers.read(FEATURES)?;
        ensure!(features & FEATURE_QUEUES != 0, "the device has no queues: its features are {features:#x}");

        let layout = Layout::new(DEPTH, BUFFER_SIZE).context("no layout of a queue")?;
        for buffer in 0..DEPTH {
            let at = DESCRIPTORS + buffer as usize * DESCRIPTOR_SIZE;
            let address = BUFFERS as u64 + u64::from(buffer) * u64::from(BUFFER_SIZE);
            let slice = memory.as_volatile_slice();
            slice.write_slice(&address.to_le_bytes(), at + DESCRIPTOR_ADDRESS)?;
            slice.write_slice(&BUFFER_SIZE.to_le_bytes(), at + DESCRIPTOR_LENGTH)?;
        }
        let ring = Ring::new(Memory(memory), layout);
        registers.start_queue()?;
        let mut guest = Self { registers, ring, copy: vec![0; BUFFER_SIZE as usize] };
        guest.give_back()?;
        Ok(guest)
    }

    /// Waits for some bytes, and looks at all of them: how many there were, and the sum of their 64-bit words.
    pub(crate) fn take(&mut self) -> anyhow::Result<(u64, u64)> {
        loop {
            self.give_back()?;
            let taken = self.ring.take(self.copy.len());
            let taken = taken.map_err(|fault| anyhow!("the queue has stopped: {fault:?}"))?;
            let Some(piece) = taken else {
                // Let the device run, should it be on this processor.
                thread::yield_now();
                continue;
            };
            let bytes = self.copy.get_mut(..piece.length).context("a piece is longer than was asked for")?;
            self.ring.state().0.as_volatile_slice().read_slice(bytes, BUFFERS + piece.offset)?;
            let words =
                bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
            return Ok((piece.length as u64, words.fold(0, u64::wrapping_add)));
        }
    }

    fn give_back(&mut self) -> anyhow::Result<()> {
        if self.ring.give_back() { self.registers.write(DOORBELL, QUEUE) } else { Ok(()) }
    }
}

/// Connects to the device and gives it [`SIZE`] bytes of memory from address 0 on.
pub(crate) fn connect(socket: &Path) -> anyhow::Result<(Registers, MmapRegion)> {
    let file: File = memfd_create("guest", MemfdFlags::CLOEXEC).context("cannot create memory")?.into();
    ftruncate(&file, SIZE as u64).context("cannot create memory")?;
    let descriptor = file.as_raw_fd();
    let memory =
        MmapRegion::from_file(FileOffset::new(file.try_clone()?, 0), SIZE).context("cannot map memory")?;

    let client = Client::new(socket).map_err(|error| anyhow!("cannot attach to the device: {error}"))?;
    let mut registers = Registers(client);
    let mapped = registers.0.dma_map(0, 0, SIZE as u64, descriptor);
    mapped.map_err(|error| anyhow!("cannot share memory with the device: {error}"))?;
    registers.allow_dma()?;
    Ok((registers, memory))
}

impl Memory {
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset < STATE_SIZE, "no word of the state: {offset:#x}");
        self.0.get_atomic_ref(STATE + offset).expect("the state is aligned and in the memory")
    }
}

impl State for Memory {
    fn load(&self, offset: usize) -> u32 {
        u32::from_le(self.word(offset).load(Ordering::Relaxed))
    }

    fn load_acquire(&self, offset: usize) -> u32 {
        u32::from_le(self.word(offset).load(Ordering::Acquire))
    }

    fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value.to_le(), Ordering::Relaxed);
    }

    fn store_release(&self, offset: usize, value: u32) {
        self.word(offset).store(value.to_le(), Ordering::Release);
    }

    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

/// The device's registers.
pub(crate) struct Registers(Client);

impl Registers {
    fn allow_dma(&mut self) -> anyhow::Result<()> {
        let command = PCI_COMMAND_MEMORY_AND_MASTER.to_le_bytes();
        let written = self.0.region_write(CONFIG_REGION, PCI_COMMAND, &command);
        written.map_err(|error| anyhow!("cannot write to the configuration space: {error}"))
    }

    fn start_queue(&mut self) -> anyhow::Result<()> {
        let control = QUEUE_ENABLE | STREAM_ENTROPY << QUEUE_STREAM_SHIFT;
        let values = [
            (QUEUE_SELECT, QUEUE),
            (QUEUE_DEPTH, DEPTH),
            (QUEUE_VECTOR, NO_VECTOR),
            (QUEUE_DESCRIPTORS_LOW, u32::try_from(DESCRIPTORS)?),
            (QUEUE_DESCRIPTORS_HIGH, 0),
            (QUEUE_STATE_LOW, u32::try_from(STATE)?),
            (QUEUE_STATE_HIGH, 0),
            (QUEUE_CONTROL, control),
        ];
        values.into_iter().try_for_each(|(offset, value)| self.write(offset, value))?;
        match self.read(QUEUE_CONTROL)? {
            started if started & QUEUE_ENABLE != 0 => Ok(()),
            other => bail!("the device did not start the queue: its control register reads {other:#x}"),
        }
    }

    pub(crate) fn read(&mut self, offset: usize) -> anyhow::Result<u32> {
        let mut bytes = [0; 4];
        let read = self.0.region_read(REGISTER_BAR.into(), offset as u64, &mut bytes);
        read.map_err(|error| anyhow!("cannot read the register at {offset:#x}: {error}"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(crate) fn write(&mut self, offset: usize, value: u32) -> anyhow::Result<()> {
        let written = self.0.region_write(REGISTER_BAR.into(), offset as u64, &value.to_le_bytes());
        written.map_err(|error| anyhow!("cannot write to the register at {offset:#x}: {error}"))
    }
}
