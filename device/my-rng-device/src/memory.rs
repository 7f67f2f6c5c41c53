// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory as queues see it, so that their logic can be tested without a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vfio_user_server::{DmaAccess, DmaError, DmaHandle, GuestSlice};

/// An address where no memory is, or memory that has just gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

/// Guest memory. Loads acquire and stores release, in C++'s words.
pub trait Memory {
    /// Loads the little-endian number at `address`, a multiple of 4.
    ///
    /// # Errors
    /// [`NoMemory`].
    fn load(&mut self, address: u64) -> Result<u32, NoMemory>;

    /// Stores a little-endian number at `address`, a multiple of 4.
    ///
    /// # Errors
    /// [`NoMemory`].
    fn store(&mut self, address: u64, value: u32) -> Result<(), NoMemory>;

    /// Loads the little-endian number at `address`, a multiple of 2.
    ///
    /// # Errors
    /// [`NoMemory`].
    fn load16(&mut self, address: u64) -> Result<u16, NoMemory>;

    /// Stores a little-endian number at `address`, a multiple of 2.
    ///
    /// # Errors
    /// [`NoMemory`].
    fn store16(&mut self, address: u64, value: u16) -> Result<(), NoMemory>;

    /// Copies out of guest memory.
    ///
    /// # Errors
    /// [`NoMemory`].
    fn read(&mut self, address: u64, to: &mut [u8]) -> Result<(), NoMemory>;

    /// Copies into guest memory.
    ///
    /// # Errors
    /// [`NoMemory`]. If it was missing before the call, nothing was written.
    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), NoMemory>;

    /// Whether all of the range can be written now.
    ///
    /// # Errors
    /// [`NoMemory`].
    fn check_writable(&mut self, address: u64, length: usize) -> Result<(), NoMemory>;

    /// Brings memory nearer that will be written, if that can be done without waiting.
    fn prefetch(&mut self, _address: u64, _length: usize) {}
}

/// The guest memory that a client shares.
#[derive(Debug)]
pub struct SharedMemory {
    handle: DmaHandle,
    /// Set while this thread waits for the client, which answers through the server's thread.
    waits_for_client: Arc<AtomicBool>,
}

impl SharedMemory {
    /// Guest memory behind that handle.
    pub fn new(handle: DmaHandle, waits_for_client: Arc<AtomicBool>) -> Self {
        Self { handle, waits_for_client }
    }

    /// Loads the bytes of a number, in one access where that can be.
    fn load_number<const N: usize>(
        &mut self,
        address: u64,
        load: impl FnOnce(&GuestSlice<'_>) -> Result<[u8; N], DmaError>,
    ) -> Result<[u8; N], NoMemory> {
        match self.handle.with_slice(address, N, DmaAccess::Read, load) {
            Err(DmaError::NotDirect) | Ok(Err(DmaError::Misaligned)) => {
                let mut bytes = [0; N];
                self.by_message(|handle| handle.read(address, &mut bytes))?;
                Ok(bytes)
            }
            load => load.and_then(|bytes| bytes).map_err(no_memory),
        }
    }

    /// Stores a number, in one access where that can be.
    fn store_number<const N: usize>(
        &mut self,
        address: u64,
        bytes: [u8; N],
        store: impl FnOnce(&GuestSlice<'_>) -> Result<(), DmaError>,
    ) -> Result<(), NoMemory> {
        match self.handle.with_slice(address, N, DmaAccess::Write, store) {
            Err(DmaError::NotDirect) | Ok(Err(DmaError::Misaligned)) => {
                self.by_message(|handle| handle.write(address, &bytes))
            }
            store => store.and_then(|done| done).map_err(no_memory),
        }
    }

    /// Does what cannot be done directly, by messages to the client.
    fn by_message(
        &mut self,
        transfer: impl FnOnce(&mut DmaHandle) -> Result<(), DmaError>,
    ) -> Result<(), NoMemory> {
        self.waits_for_client.store(true, Ordering::SeqCst);
        let outcome = transfer(&mut self.handle);
        self.waits_for_client.store(false, Ordering::SeqCst);
        outcome.map_err(no_memory)
    }
}

fn no_memory(error: DmaError) -> NoMemory {
    log::debug!("{error}");
    NoMemory
}

impl Memory for SharedMemory {
    fn load(&mut self, address: u64) -> Result<u32, NoMemory> {
        self.load_number(address, |slice| slice.load_u32(0, Ordering::Acquire).map(u32::to_ne_bytes))
            .map(u32::from_le_bytes)
    }

    fn store(&mut self, address: u64, value: u32) -> Result<(), NoMemory> {
        let value = value.to_le();
        let store = |slice: &GuestSlice<'_>| slice.store_u32(0, value, Ordering::Release);
        self.store_number(address, value.to_ne_bytes(), store)
    }

    fn load16(&mut self, address: u64) -> Result<u16, NoMemory> {
        self.load_number(address, |slice| slice.load_u16(0, Ordering::Acquire).map(u16::to_ne_bytes))
            .map(u16::from_le_bytes)
    }

    fn store16(&mut self, address: u64, value: u16) -> Result<(), NoMemory> {
        let value = value.to_le();
        let store = |slice: &GuestSlice<'_>| slice.store_u16(0, value, Ordering::Release);
        self.store_number(address, value.to_ne_bytes(), store)
    }

    fn read(&mut self, address: u64, to: &mut [u8]) -> Result<(), NoMemory> {
        match self.handle.with_slice(address, to.len(), DmaAccess::Read, |slice| slice.read(0, to)) {
            Err(DmaError::NotDirect) => self.by_message(|handle| handle.read(address, to)),
            read => read.and_then(|done| done).map_err(no_memory),
        }
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), NoMemory> {
        match self.handle.with_slice(address, from.len(), DmaAccess::Write, |slice| slice.write(0, from)) {
            Err(DmaError::NotDirect) => self.by_message(|handle| handle.write(address, from)),
            written => written.and_then(|done| done).map_err(no_memory),
        }
    }

    fn check_writable(&mut self, address: u64, length: usize) -> Result<(), NoMemory> {
        self.handle.check(address, length, DmaAccess::Write).map_err(no_memory)
    }

    fn prefetch(&mut self, address: u64, length: usize) {
        // What cannot be reached directly is not.
        let _ = self.handle.with_slice(address, length, DmaAccess::Write, |slice| slice.prefetch());
    }
}
