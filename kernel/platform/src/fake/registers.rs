// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers of a fake device.

use std::{fmt, sync::Arc};

use super::FakeDevice;

/// A device's registers, or a part of them. As on a PCI bus, reads where nobody answers give all ones and writes are lost; so it is
/// for accesses beyond the end, or at an offset that is not a multiple of their size.
#[derive(Clone)]
pub struct Registers {
    device: Arc<dyn FakeDevice>,
    bar: u8,
    start: usize,
    length: usize,
}

impl fmt::Debug for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registers({}: {:#x}+{:#x})", self.bar, self.start, self.length)
    }
}

impl Registers {
    /// The registers of base address register `bar` of a fake device.
    pub fn fake(device: Arc<dyn FakeDevice>, bar: u8) -> Self {
        let length = device.bar_size(bar);
        Self { device, bar, start: 0, length }
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// The `length` bytes from `offset`; none if they are not all there.
    pub fn part(&self, offset: usize, length: usize) -> Option<Self> {
        let end = offset.checked_add(length)?;
        (length > 0 && end <= self.length).then(|| Self {
            start: self.start + offset,
            length,
            ..self.clone()
        })
    }

    fn place(&self, offset: usize, size: u8) -> Option<usize> {
        let end = offset.checked_add(usize::from(size))?;
        let at = self.start.checked_add(offset)?;
        let answers = end <= self.length && at % usize::from(size) == 0 && self.device.is_present();
        answers.then_some(at)
    }

    fn read(&self, offset: usize, size: u8) -> u64 {
        self.place(offset, size).map_or(u64::MAX, |at| self.device.read(self.bar, at, size))
    }

    fn write(&self, offset: usize, size: u8, value: u64) {
        if let Some(at) = self.place(offset, size) {
            self.device.write(self.bar, at, size, value);
        }
    }

    /// Reads one byte.
    pub fn read8(&self, offset: usize) -> u8 {
        self.read(offset, 1) as u8
    }

    /// Reads two bytes.
    pub fn read16(&self, offset: usize) -> u16 {
        self.read(offset, 2) as u16
    }

    /// Reads four bytes.
    pub fn read32(&self, offset: usize) -> u32 {
        self.read(offset, 4) as u32
    }

    /// Reads eight bytes.
    pub fn read64(&self, offset: usize) -> u64 {
        self.read(offset, 8)
    }

    /// Writes one byte.
    pub fn write8(&self, offset: usize, value: u8) {
        self.write(offset, 1, value.into());
    }

    /// Writes two bytes.
    pub fn write16(&self, offset: usize, value: u16) {
        self.write(offset, 2, value.into());
    }

    /// Writes four bytes.
    pub fn write32(&self, offset: usize, value: u32) {
        self.write(offset, 4, value.into());
    }

    /// Writes eight bytes.
    pub fn write64(&self, offset: usize, value: u64) {
        self.write(offset, 8, value);
    }
}
