// SPDX-License-Identifier: MIT OR Apache-2.0
//! What IDENTIFY DEVICE answers: 256 words. Source: ATA/ATAPI Command Set 3 (ACS-3), section 7.12.

use alloc::string::String;

use crate::block::device_text;

/// Bytes of the answer.
pub(super) const BYTES: usize = 512;

/// Why a drive cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It has no commands with 48-bit addresses, or says that it has no sectors.
    NoSectors,
    /// Sectors of so many bytes.
    SectorSize(u32),
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drive {
    /// Serial number.
    pub(super) serial: String,
    /// Model.
    pub(super) model: String,
    /// Logical sectors.
    pub(super) sectors: u64,
    /// Bytes in a logical sector.
    pub(super) sector_size: u32,
    /// How many commands it queues; 1 is none beside the one that runs.
    pub(super) queue_depth: u8,
    /// Whether it takes TRIM.
    pub(super) has_trim: bool,
}

fn word(data: &[u8; BYTES], number: usize) -> u16 {
    match data.get(2 * number..2 * number + 2) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0,
    }
}

/// Text is stored with the bytes of each word swapped.
fn text(data: &[u8; BYTES], first: usize, words: usize) -> String {
    device_text((first..first + words).flat_map(|number| word(data, number).to_be_bytes()))
}

impl Drive {
    pub(super) fn parse(data: &[u8; BYTES]) -> Result<Self, Unusable> {
        let word = |number| word(data, number);
        // A word is valid if its bit 15 is clear and bit 14 is set, where the standard says so.
        let is_valid = |value: u16| value >> 14 == 1;
        let has_wide_addresses = is_valid(word(83)) && word(83) & (1 << 10) != 0;
        let sectors = (0..4).rev().fold(0, |sum, n| (sum << 16) | u64::from(word(100 + n)));
        if !has_wide_addresses || sectors == 0 || sectors >> 48 != 0 {
            return Err(Unusable::NoSectors);
        }
        let sector_size = match word(106) {
            value if is_valid(value) && value & (1 << 12) != 0 => {
                ((u32::from(word(118)) << 16) | u32::from(word(117))).saturating_mul(2)
            }
            _ => 512,
        };
        if !(512..=4096).contains(&sector_size) || !sector_size.is_power_of_two() {
            return Err(Unusable::SectorSize(sector_size));
        }
        let queues = word(76) != u16::MAX && word(76) & (1 << 8) != 0;
        Ok(Self {
            serial: text(data, 10, 10),
            model: text(data, 27, 20),
            sectors,
            sector_size,
            queue_depth: if queues { (word(75) & 0x1f) as u8 + 1 } else { 1 },
            has_trim: word(169) != u16::MAX && word(169) & 1 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(words: &[(usize, u16)]) -> [u8; BYTES] {
        let mut data = [0; BYTES];
        let usual = [(83, (1 << 14) | (1 << 10)), (100, 0x1000)];
        for &(number, value) in usual.iter().chain(words) {
            data[2 * number..2 * number + 2].copy_from_slice(&value.to_le_bytes());
        }
        data
    }

    #[test]
    fn a_plain_drive_has_sectors_of_512_bytes_and_no_queue() {
        let drive =
            Drive::parse(&drive(&[(27, u16::from_be_bytes(*b"QE")), (28, u16::from_be_bytes(*b"MU"))]))
                .unwrap();
        assert_eq!((drive.sectors, drive.sector_size, drive.queue_depth), (0x1000, 512, 1));
        assert_eq!((drive.model.as_str(), drive.serial.as_str(), drive.has_trim), ("QEMU", "", false));
    }

    #[test]
    fn queueing_trim_and_large_sectors_are_seen() {
        let words = [(76, 1 << 8), (75, 31), (169, 1), (106, (1 << 14) | (1 << 12)), (117, 2048), (101, 1)];
        let drive = Drive::parse(&drive(&words)).unwrap();
        assert_eq!((drive.queue_depth, drive.has_trim, drive.sector_size), (32, true, 4096));
        assert_eq!(drive.sectors, 0x1_1000);
    }

    #[test]
    fn nonsense_is_declined() {
        assert_eq!(Drive::parse(&[0; BYTES]), Err(Unusable::NoSectors));
        assert_eq!(Drive::parse(&[0xff; BYTES]), Err(Unusable::NoSectors));
        let words = [(106, (1 << 14) | (1 << 12)), (117, 0xffff), (118, 0xffff)];
        assert_eq!(Drive::parse(&drive(&words)), Err(Unusable::SectorSize(u32::MAX)));
    }
}
