// SPDX-License-Identifier: MIT OR Apache-2.0
//! What drivers and the hardware layer have to agree on.

/// A run of bytes in memory, as a device sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Address of the first byte, for the device.
    pub address: u64,
    /// Bytes.
    pub length: u32,
}

/// Who is told of a device's interrupts.
pub trait InterruptHandler: Send + Sync {
    /// Interrupt `index` of those that the device was given came. Runs on the interrupt's CPU with interrupts off, and has to be
    /// short; it may take locks, since no interrupt ever comes while one is held.
    fn interrupt(&self, index: usize);
}

/// How a device's interrupts reach the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptKind {
    /// Messages from a table, each to a CPU of its own choice.
    MsiX,
    /// One message.
    Msi,
    /// A line, perhaps shared with other devices.
    Line,
}

/// Memory for a device ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;
