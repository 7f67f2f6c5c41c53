// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other side of a queue, for measurements and tests: a driver, in this process, on memory that both share.

use std::io;
use std::sync::atomic::{Ordering, fence};

use my_rng_abi::queue as abi;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_user_server::{DmaAccess, DmaError, DmaHandle, GuestMemory, GuestSlice};

use crate::registers::{SetUp, Stream, Vector};

/// Guest memory of a file of its own.
#[derive(Debug)]
pub struct PlainMemory {
    /// The memory, for the device.
    pub memory: GuestMemory,
    /// Its size in bytes; the first address is 0.
    pub size: u64,
}

impl PlainMemory {
    /// Makes it.
    ///
    /// # Errors
    /// There are no descriptors or no memory.
    pub fn new(size: u64) -> io::Result<Self> {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size)?;
        let memory = GuestMemory::detached()?;
        memory.share(0, size, file, 0)?;
        Ok(Self { memory, size })
    }
}

/// Where the parts of a queue are, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Address of the queue's memory: state, descriptors, buffers, in this order.
    pub base: u64,
    /// Descriptors.
    pub depth: u32,
    /// Bytes of each buffer.
    pub buffer: u32,
}

impl Layout {
    const DESCRIPTORS: u64 = abi::STATE_SIZE as u64;

    /// Address of the descriptors.
    pub fn descriptors(&self) -> u64 {
        self.base.saturating_add(Self::DESCRIPTORS)
    }

    /// Address of a buffer.
    pub fn buffer(&self, place: u32) -> u64 {
        let descriptors = (abi::DESCRIPTOR_SIZE as u64).saturating_mul(self.depth.into());
        let before = u64::from(place).saturating_mul(self.buffer.into());
        self.descriptors().saturating_add(descriptors).next_multiple_of(4096).saturating_add(before)
    }

    /// The first address after the queue.
    pub fn end(&self) -> u64 {
        self.buffer(self.depth)
    }

    /// What a driver would write into the registers.
    pub fn set_up(&self, stream: Stream, vector: Vector) -> SetUp {
        SetUp { depth: self.depth, descriptors: self.descriptors(), state: self.base, stream, vector }
    }
}

/// A driver's queue, which uses the same buffers again and again.
#[derive(Debug)]
pub struct Ring {
    memory: DmaHandle,
    layout: Layout,
    posted: u32,
}

impl Ring {
    /// Writes the descriptors.
    ///
    /// # Errors
    /// The layout is not inside the memory.
    pub fn new(memory: &GuestMemory, layout: Layout) -> Result<Self, DmaError> {
        let mut memory = memory.handle();
        memory.write(layout.base, &[0; abi::STATE_SIZE])?;
        for place in 0..layout.depth {
            let mut descriptor = [0; abi::DESCRIPTOR_SIZE];
            let fields = layout.buffer(place).to_le_bytes().into_iter().chain(layout.buffer.to_le_bytes());
            descriptor.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
            let offset = u64::from(place).saturating_mul(abi::DESCRIPTOR_SIZE as u64);
            memory.write(layout.descriptors().saturating_add(offset), &descriptor)?;
        }
        Ok(Self { memory, layout, posted: 0 })
    }

    /// Posts so many more buffers. `true`: the device wants its doorbell rung.
    ///
    /// # Errors
    /// The memory has gone.
    pub fn post(&mut self, count: u32) -> Result<bool, DmaError> {
        self.posted = self.posted.wrapping_add(count);
        let posted = self.posted.to_le();
        self.state(|state| state.store_u32(abi::POSTED, posted, Ordering::Release))?;
        fence(Ordering::SeqCst);
        Ok(self.field(abi::SLEEPING)? != 0)
    }

    /// How many buffers were posted so far.
    pub fn posted(&self) -> u32 {
        self.posted
    }

    /// How many were completed so far.
    ///
    /// # Errors
    /// The memory has gone.
    pub fn completed(&mut self) -> Result<u32, DmaError> {
        self.field(abi::COMPLETED)
    }

    /// A field of the state.
    ///
    /// # Errors
    /// The memory has gone.
    pub fn field(&mut self, offset: usize) -> Result<u32, DmaError> {
        self.state(|state| state.load_u32(offset, Ordering::Acquire)).map(u32::from_le)
    }

    /// Asks for an interrupt at the completion of that number.
    ///
    /// # Errors
    /// The memory has gone.
    pub fn want_interrupt_at(&mut self, number: u32) -> Result<(), DmaError> {
        self.state(|state| {
            state.store_u32(abi::INTERRUPT_AT, number.to_le(), Ordering::Relaxed)?;
            state.store_u32(abi::INTERRUPT_WANTED, 1_u32.to_le(), Ordering::Release)
        })?;
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Copies buffer number `number` out.
    ///
    /// # Errors
    /// The memory has gone.
    pub fn read(&mut self, number: u32) -> Result<Vec<u8>, DmaError> {
        let mut bytes = vec![0; self.layout.buffer as usize];
        let place = number.checked_rem(self.layout.depth).unwrap_or_default();
        self.memory.read(self.layout.buffer(place), &mut bytes)?;
        Ok(bytes)
    }

    fn state<T>(&mut self, work: impl FnOnce(&GuestSlice<'_>) -> Result<T, DmaError>) -> Result<T, DmaError> {
        self.memory.with_slice(self.layout.base, abi::STATE_SIZE, DmaAccess::Write, work)?
    }
}
