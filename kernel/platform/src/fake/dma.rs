// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that drivers and fake devices share. Every block has an address of its own that is never used again, with nothing
//! beside it: a device that reaches one byte too far, or uses memory that was freed, is told so.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{NoMemory, PAGE_SIZE};

type Bytes = Arc<Mutex<Vec<u8>>>;

static MEMORY: RwLock<BTreeMap<u64, Bytes>> = RwLock::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0x1_0000_0000);
thread_local! {
    /// Accesses of devices to memory that was not theirs, made by this thread: tests run side by side.
    static STRAY: Cell<usize> = const { Cell::new(0) };
}

/// Owned, zeroed, physically contiguous memory that a device may read and write. Freed when dropped.
#[derive(Debug)]
pub struct Dma {
    address: u64,
    bytes: Bytes,
    length: usize,
    node: u32,
}

impl Dma {
    /// `bytes` bytes at a multiple of `align` (a power of two), from NUMA node `node` if that has any.
    ///
    /// # Errors
    /// [`NoMemory`] for what no machine has, or an alignment that is none.
    pub fn new(bytes: usize, align: usize, node: Option<u32>) -> Result<Self, NoMemory> {
        if bytes == 0 || bytes > 1 << 30 || !align.is_power_of_two() || align > 1 << 30 {
            return Err(NoMemory);
        }
        let span = (bytes.next_multiple_of(PAGE_SIZE) + PAGE_SIZE + align) as u64;
        let address = NEXT.fetch_add(span, Ordering::Relaxed).next_multiple_of(align as u64);
        let memory = Arc::new(Mutex::new(vec![0; bytes]));
        MEMORY.write().insert(address, memory.clone());
        Ok(Self { address, bytes: memory, length: bytes, node: node.unwrap_or(0) })
    }

    /// The address of the first byte, as the device sees it.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// The NUMA node that it is from.
    pub fn node(&self) -> u32 {
        self.node
    }

    /// Copies from it; what is beyond its end is all ones.
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) {
        read(&self.bytes.lock(), offset, out);
    }

    /// Copies to it; what is beyond its end is dropped.
    pub fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        write(&mut self.bytes.lock(), offset, bytes);
    }

    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut out = [0xff; N];
        match offset.checked_add(N) {
            Some(end) if end <= self.length && offset % N == 0 => self.read_bytes(offset, &mut out),
            _ => {}
        }
        out
    }

    fn put<const N: usize>(&self, offset: usize, value: [u8; N]) {
        match offset.checked_add(N) {
            Some(end) if end <= self.length && offset % N == 0 => self.write_bytes(offset, &value),
            _ => {}
        }
    }

    /// Reads a byte; all ones beyond the end.
    pub fn read8(&self, offset: usize) -> u8 {
        u8::from_le_bytes(self.get(offset))
    }

    /// Reads two bytes; all ones beyond the end or at an odd offset.
    pub fn read16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }

    /// Reads four bytes; all ones beyond the end or where they are not aligned.
    pub fn read32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.get(offset))
    }

    /// Reads eight bytes; all ones beyond the end or where they are not aligned.
    pub fn read64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.get(offset))
    }

    /// Writes a byte; dropped beyond the end.
    pub fn write8(&self, offset: usize, value: u8) {
        self.put(offset, value.to_le_bytes());
    }

    /// Writes two bytes; dropped beyond the end or at an odd offset.
    pub fn write16(&self, offset: usize, value: u16) {
        self.put(offset, value.to_le_bytes());
    }

    /// Writes four bytes; dropped beyond the end or where they are not aligned.
    pub fn write32(&self, offset: usize, value: u32) {
        self.put(offset, value.to_le_bytes());
    }

    /// Writes eight bytes; dropped beyond the end or where they are not aligned.
    pub fn write64(&self, offset: usize, value: u64) {
        self.put(offset, value.to_le_bytes());
    }
}

impl Drop for Dma {
    fn drop(&mut self) {
        MEMORY.write().remove(&self.address);
    }
}

fn read(memory: &[u8], offset: usize, out: &mut [u8]) {
    out.fill(0xff);
    let there = memory.get(offset..).unwrap_or_default();
    for (to, from) in out.iter_mut().zip(there) {
        *to = *from;
    }
}

fn write(memory: &mut [u8], offset: usize, bytes: &[u8]) {
    let there = memory.get_mut(offset..).unwrap_or_default();
    for (to, from) in there.iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// The block that all of `address..address + bytes` is in, and the offset in it.
fn find(address: u64, bytes: usize) -> Option<(Bytes, usize)> {
    let memory = MEMORY.read();
    let (&start, block) = memory.range(..=address).next_back()?;
    let offset = usize::try_from(address - start).ok()?;
    let end = offset.checked_add(bytes)?;
    (end <= block.lock().len()).then(|| (block.clone(), offset))
}

/// A device reads memory: false, and nothing read, if any of it is not memory that a driver has.
pub fn device_read(address: u64, out: &mut [u8]) -> bool {
    match find(address, out.len()) {
        Some((block, offset)) => read(&block.lock(), offset, out),
        None => {
            STRAY.set(STRAY.get() + 1);
            return false;
        }
    }
    true
}

/// A device writes memory: false, and nothing written, if any of it is not memory that a driver has.
pub fn device_write(address: u64, bytes: &[u8]) -> bool {
    match find(address, bytes.len()) {
        Some((block, offset)) => write(&mut block.lock(), offset, bytes),
        None => {
            STRAY.set(STRAY.get() + 1);
            return false;
        }
    }
    true
}

/// Reads a 16-bit number as a device does; all ones where it may not.
pub fn device_read16(address: u64) -> u16 {
    let mut out = [0xff; 2];
    device_read(address, &mut out);
    u16::from_le_bytes(out)
}

/// Reads a 32-bit number as a device does; all ones where it may not.
pub fn device_read32(address: u64) -> u32 {
    let mut out = [0xff; 4];
    device_read(address, &mut out);
    u32::from_le_bytes(out)
}

/// Reads a 64-bit number as a device does; all ones where it may not.
pub fn device_read64(address: u64) -> u64 {
    let mut out = [0xff; 8];
    device_read(address, &mut out);
    u64::from_le_bytes(out)
}

/// Accesses of devices to memory that no driver had, by this thread so far.
pub fn stray_accesses() -> usize {
    STRAY.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reaches_memory_that_a_driver_has_and_no_other() {
        let dma = Dma::new(512, 256, Some(1)).unwrap();
        assert_eq!(dma.address() % 256, 0);
        assert_eq!(dma.node(), 1);
        assert!(device_write(dma.address() + 508, &[1, 2, 3, 4]));
        assert_eq!(dma.read32(508), 0x0403_0201);
        let before = stray_accesses();
        assert!(!device_write(dma.address() + 509, &[9; 4]), "one byte too far");
        assert_eq!(dma.read32(508), 0x0403_0201, "and nothing was written");
        let address = dma.address();
        drop(dma);
        assert!(!device_read(address, &mut [0; 1]), "freed");
        assert!(stray_accesses() >= before + 2);
    }

    #[test]
    fn out_of_range_is_all_ones_and_dropped() {
        let dma = Dma::new(16, 16, None).unwrap();
        dma.write64(16, 1);
        dma.write32(usize::MAX, 1);
        assert_eq!((dma.read64(16), dma.read64(12), dma.read8(usize::MAX)), (u64::MAX, u64::MAX, 0xff));
        assert_eq!(dma.read64(8), 0);
        assert!(Dma::new(0, 8, None).is_err() && Dma::new(8, 3, None).is_err());
    }
}
