// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fake disk behind a fake virtio device.

use std::sync::Arc;

use super::{
    fake_bus::{Backend, FakePart, read_part, write_part},
    format::{SERIAL_BYTES, feature},
};
use crate::block::fake_disk::FakeDisk;

/// The serial number that the device says.
pub(super) const SERIAL: &[u8] = b"exo-0815";

pub(super) struct FakeBlk {
    pub(super) disk: Arc<FakeDisk>,
    /// Features that it leaves out.
    pub(super) without: u64,
}

impl FakeBlk {
    fn carry_out(&self, kind: u64, sector: u64, data: &[FakePart]) -> Result<u32, u8> {
        let scale = u64::from(self.disk.sector_size / 512);
        assert_eq!(sector % scale, 0, "a request begins in the middle of a block");
        let sector = sector / scale;
        let length: u64 = data.iter().map(|part| u64::from(part.length)).sum();
        let sectors = length / u64::from(self.disk.sector_size);
        match kind {
            0 => {
                let bytes = self.disk.read(sector, sectors).map_err(|_| 1)?;
                let mut rest = &bytes[..];
                let mut written = 0;
                for part in data {
                    let count = write_part(part, rest);
                    rest = &rest[count as usize..];
                    written += count;
                }
                Ok(written)
            }
            1 => {
                let bytes: Vec<u8> = data.iter().flat_map(read_part).collect();
                self.disk.write(sector, &bytes).map_err(|_| 1)?;
                Ok(0)
            }
            4 => {
                self.disk.flush();
                Ok(0)
            }
            8 => {
                let mut text = [0; SERIAL_BYTES];
                text[..SERIAL.len()].copy_from_slice(SERIAL);
                Ok(write_part(&data[0], &text))
            }
            11 => {
                let range = read_part(&data[0]);
                let number = |at: usize| u64::from_le_bytes(range[at..at + 8].try_into().unwrap());
                self.disk.discard(number(0) / scale, (number(8) & 0xffff_ffff) / scale).map_err(|_| 1)?;
                Ok(0)
            }
            _ => Err(2),
        }
    }
}

impl Backend for FakeBlk {
    fn features(&self) -> u64 {
        let read_only = if self.disk.is_read_only { feature::READ_ONLY } else { 0 };
        let all = feature::SEGMENTS_MAX
            | feature::BLOCK_SIZE
            | feature::FLUSH
            | feature::QUEUES
            | feature::DISCARD
            | read_only;
        all & !self.without
    }

    fn registers(&self) -> Vec<u8> {
        let mut bytes = vec![0; 60];
        let capacity = self.disk.sectors * u64::from(self.disk.sector_size / 512);
        bytes[..8].copy_from_slice(&capacity.to_le_bytes());
        bytes[12..16].copy_from_slice(&126u32.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.disk.sector_size.to_le_bytes());
        bytes[34..36].copy_from_slice(&self.queues().to_le_bytes());
        bytes[36..40].copy_from_slice(&0x1_0000u32.to_le_bytes());
        bytes
    }

    fn queues(&self) -> u16 {
        4
    }

    fn handle(&self, _queue: u16, chain: &[FakePart]) -> Option<u32> {
        let (header, rest) = chain.split_first().unwrap();
        let (status, data) = rest.split_last().unwrap();
        let header = read_part(header);
        let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
        let (result, written) = match self.carry_out(number(0) & 0xffff_ffff, number(8), data) {
            Ok(written) => (0, written),
            Err(status) => (status, 0),
        };
        write_part(status, &[result]);
        Some(written + 1)
    }
}
