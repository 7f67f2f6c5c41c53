// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers and requests of virtio-blk, as the specification lays them out (VIRTIO 1.2, 5.2.4 and 5.2.6).

use exo_platform::Registers;

use crate::block::{Cause, Operation};

/// Feature bits of block devices.
pub(super) mod feature {
    pub(crate) const SIZE_MAX: u64 = 1 << 1;
    pub(crate) const SEGMENTS_MAX: u64 = 1 << 2;
    pub(crate) const READ_ONLY: u64 = 1 << 5;
    pub(crate) const BLOCK_SIZE: u64 = 1 << 6;
    pub(crate) const FLUSH: u64 = 1 << 9;
    pub(crate) const QUEUES: u64 = 1 << 12;
    pub(crate) const DISCARD: u64 = 1 << 13;
}

/// The device's sectors, whatever it says of its blocks.
pub(super) const SECTOR: u32 = 512;

/// What the device's own registers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// Sectors of 512 bytes.
    pub(super) capacity: u64,
    /// Most bytes of one part of a request, if the device says.
    pub(super) size_max: u32,
    /// Most parts of a request, if the device says.
    pub(super) segments_max: u32,
    /// Bytes of a block, if the device says.
    pub(super) block_size: u32,
    /// Queues, if the device says.
    pub(super) queues: u16,
    /// Most sectors of one discard, if the device says.
    pub(super) discard_max: u32,
}

impl Config {
    pub(super) fn read(registers: &Registers) -> Self {
        let capacity = u64::from(registers.read32(0)) | (u64::from(registers.read32(4)) << 32);
        Self {
            capacity,
            size_max: registers.read32(8),
            segments_max: registers.read32(12),
            block_size: registers.read32(20),
            queues: registers.read16(34),
            discard_max: registers.read32(36),
        }
    }
}

/// Types of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Read = 0,
    Write = 1,
    Flush = 4,
    Serial = 8,
    Discard = 11,
}

impl From<Operation> for Type {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Read => Self::Read,
            Operation::Write => Self::Write,
            Operation::Flush => Self::Flush,
            Operation::Discard => Self::Discard,
        }
    }
}

/// Bytes of a serial number, which ends early with a zero byte.
pub(super) const SERIAL_BYTES: usize = 20;
/// Bytes of a request's header.
pub(super) const HEADER_BYTES: u32 = 16;
/// Bytes that say what to discard.
pub(super) const RANGE_BYTES: u32 = 16;

/// The header of a request.
pub(super) fn header(kind: Type, sector: u64) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&(kind as u64).to_le_bytes());
    second.copy_from_slice(&sector.to_le_bytes());
    bytes
}

/// What a discard is about.
pub(super) fn range(sector: u64, sectors: u32) -> [u8; RANGE_BYTES as usize] {
    let mut bytes = [0; RANGE_BYTES as usize];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&sector.to_le_bytes());
    second.copy_from_slice(&u64::from(sectors).to_le_bytes());
    bytes
}

/// In the place of the status before the device has written it.
pub(super) const NO_STATUS: u8 = 0xff;

/// What a status says; none if it is none that the specification knows.
pub(super) fn result(status: u8) -> Option<Result<(), Cause>> {
    match status {
        0 => Some(Ok(())),
        1 => Some(Err(Cause::Medium(1))),
        2 => Some(Err(Cause::Unsupported)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_laid_out_as_specified() {
        assert_eq!(header(Type::Discard, 0x1122)[..10], [11, 0, 0, 0, 0, 0, 0, 0, 0x22, 0x11]);
        assert_eq!(range(5, 0x8000), [5, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_status_that_nobody_wrote_is_none() {
        assert_eq!(result(NO_STATUS), None);
        assert_eq!(result(0), Some(Ok(())));
        assert_eq!(result(1), Some(Err(Cause::Medium(1))));
    }
}
