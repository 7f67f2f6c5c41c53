// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine of host tests. A test writes a [`FakeDevice`], puts it behind a [`pci::Function`] and hands that to the
//! driver.
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
//! use exo_platform::{Registers, fake::FakeDevice};
//!
//! /// One register, which keeps what was written.
//! #[derive(Default)]
//! struct Scratch(AtomicU64);
//!
//! impl FakeDevice for Scratch {
//!     fn bar_size(&self, bar: u8) -> usize {
//!         if bar == 0 { 8 } else { 0 }
//!     }
//!     fn read(&self, _bar: u8, _offset: usize, _size: u8) -> u64 {
//!         self.0.load(Ordering::Relaxed)
//!     }
//!     fn write(&self, _bar: u8, _offset: usize, _size: u8, value: u64) {
//!         self.0.store(value, Ordering::Relaxed);
//!     }
//! }
//!
//! let registers = Registers::fake(Arc::new(Scratch::default()), 0);
//! registers.write32(0, 5);
//! assert_eq!(registers.read32(0), 5);
//! assert_eq!(registers.read32(8), u32::MAX, "nobody answers there");
//! ```

pub mod buffer;
pub mod cpu;
pub mod dma;
pub mod page;
pub mod pci;
pub mod registers;

use parking_lot::Mutex;

/// A device that a test made up. Its methods are called with no lock of this crate held, but often with the driver's: a device must
/// not call the driver from them. Interrupts wait in [`Wires`] for that reason.
pub trait FakeDevice: Send + Sync {
    /// Bytes of base address register `bar`; 0 if the device does not have it.
    fn bar_size(&self, bar: u8) -> usize;
    /// A read of 1, 2, 4 or 8 bytes at `offset`, which are inside `bar` and aligned.
    fn read(&self, bar: u8, offset: usize, size: u8) -> u64;
    /// A write.
    fn write(&self, bar: u8, offset: usize, size: u8, value: u64);
    /// Interrupts that the device's table has room for; one means MSI, none a line.
    fn interrupts(&self) -> usize {
        1
    }
    /// Bytes of capabilities, which stand at offset 0x40 of configuration space; each begins with its number and the offset of the next.
    fn capabilities(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Its use of memory is about to end: this is the last moment at which it may do what the driver has told it to do there.
    fn disable(&self) {}
    /// Whether the device is still plugged in: without it, every read gives all ones and writes are lost.
    fn is_present(&self) -> bool {
        true
    }
}

/// The interrupts of a fake device: raised by the device, delivered when the test says so, as a CPU takes them only when its
/// interrupts are on. A clone is another end of the same wires.
#[derive(Clone, Default)]
pub struct Wires(std::sync::Arc<Mutex<WiresInner>>);

#[derive(Default)]
struct WiresInner {
    pending: Vec<usize>,
    handler: Option<std::sync::Arc<dyn crate::InterruptHandler>>,
    count: usize,
}

impl Wires {
    /// Wires that lead nowhere yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The device raises interrupt `index`.
    pub fn raise(&self, index: usize) {
        self.0.lock().pending.push(index);
    }

    /// Calls the driver's handler for every interrupt that was raised; how many reached it. What was raised for an index that the
    /// driver has not asked for is lost.
    pub fn deliver(&self) -> usize {
        let (pending, handler, count) = {
            let mut inner = self.0.lock();
            (std::mem::take(&mut inner.pending), inner.handler.clone(), inner.count)
        };
        let Some(handler) = handler else { return 0 };
        let reached = pending.into_iter().filter(|index| *index < count);
        reached.map(|index| handler.interrupt(index)).count()
    }

    fn connect(&self, handler: Option<std::sync::Arc<dyn crate::InterruptHandler>>, count: usize) {
        let mut inner = self.0.lock();
        inner.handler = handler;
        inner.count = count;
    }
}

/// An interrupt line of a device that is not on a bus that could tell.
#[derive(Clone)]
pub struct InterruptLine(Wires);

/// A line that is connected; dropping this takes the handler away.
pub struct ConnectedLine(Wires);

impl InterruptLine {
    /// A line whose other end are `wires` (index 0).
    pub fn fake(wires: Wires) -> Self {
        Self(wires)
    }

    /// Tells `handler` of interrupt 0 whenever the line asks for it; none if there is no such line.
    pub fn connect(&self, handler: std::sync::Arc<dyn crate::InterruptHandler>) -> Option<ConnectedLine> {
        self.0.connect(Some(handler), 1);
        Some(ConnectedLine(self.0.clone()))
    }
}

impl std::fmt::Debug for InterruptLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InterruptLine")
    }
}

impl Drop for ConnectedLine {
    fn drop(&mut self) {
        self.0.connect(None, 0);
    }
}
