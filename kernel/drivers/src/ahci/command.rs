// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the adapter reads from memory: the command list, and a table for each command with its frame and the list of its
//! data. Sources: Serial ATA AHCI 1.3.1, section 4.2; ATA/ATAPI Command Set 3 (ACS-3).

use exo_platform::Segment;

/// Commands in a list.
pub(super) const SLOTS: usize = 32;
/// Bytes of a command header; 32 of them are the command list, which begins at a multiple of 1 KiB.
pub(super) const HEADER_BYTES: usize = 32;
/// Bytes of the area for received frames, which begins at a multiple of itself.
pub(super) const RECEIVED_BYTES: usize = 256;
/// Bytes of one command table as this driver lays them out: frame, then regions. It has to begin at a multiple of 128.
pub(super) const TABLE_BYTES: usize = 1024;
/// Where the regions begin in a command table.
pub(super) const REGIONS_OFFSET: usize = 0x80;
/// Bytes of a region entry (PRDT).
pub(super) const REGION_BYTES: usize = 16;
/// Regions that fit.
pub(super) const MAX_REGIONS: usize = (TABLE_BYTES - REGIONS_OFFSET) / REGION_BYTES;
/// Bytes that one region may have: 4 MiB.
const MAX_REGION: u32 = 4 << 20;
/// Bytes of a command frame.
pub(super) const FRAME_BYTES: usize = 20;

/// ATA command codes (ACS-3, annex B).
pub(super) mod code {
    pub(crate) const DATA_SET_MANAGEMENT: u8 = 0x06;
    pub(crate) const READ_DMA_EXT: u8 = 0x25;
    pub(crate) const WRITE_DMA_EXT: u8 = 0x35;
    pub(crate) const READ_FPDMA_QUEUED: u8 = 0x60;
    pub(crate) const WRITE_FPDMA_QUEUED: u8 = 0x61;
    pub(crate) const FLUSH_CACHE_EXT: u8 = 0xea;
    pub(crate) const IDENTIFY_DEVICE: u8 = 0xec;
}

/// Frame type "register, host to device", and its C bit: the command register is meant.
const HOST_TO_DEVICE: u8 = 0x27;
const IS_COMMAND: u8 = 1 << 7;
/// Device register: addresses are of blocks.
const LBA_MODE: u8 = 1 << 6;
/// Features of DATA SET MANAGEMENT: TRIM.
const TRIM: u8 = 1;
/// Blocks that one TRIM range may have.
const MAX_TRIM_RANGE: u32 = 0xffff;
/// Bytes of a TRIM range list as this driver sends it: one block.
pub(super) const TRIM_BYTES: usize = 512;
/// Sectors that one TRIM command of ours reaches: 64 ranges in one block.
pub(super) const MAX_TRIM_SECTORS: u32 = MAX_TRIM_RANGE * (TRIM_BYTES as u32 / 8);

/// A command as an adapter sends it to a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    code: u8,
    features: u16,
    count: u16,
    block: u64,
    device: u8,
}

impl Frame {
    fn new(code: u8) -> Self {
        Self { code, features: 0, count: 0, block: 0, device: 0 }
    }

    /// Reads `sectors` (0 means 65536) from `block`, as queued command `tag`.
    pub(super) fn read_queued(block: u64, sectors: u16, tag: u8) -> Self {
        Self::queued(code::READ_FPDMA_QUEUED, block, sectors, tag)
    }

    /// Writes `sectors` (0 means 65536) from `block`, as queued command `tag`.
    pub(super) fn write_queued(block: u64, sectors: u16, tag: u8) -> Self {
        Self::queued(code::WRITE_FPDMA_QUEUED, block, sectors, tag)
    }

    /// The queued commands have the number of sectors where others have features, and the tag where others have that number.
    fn queued(code: u8, block: u64, sectors: u16, tag: u8) -> Self {
        Self { code, features: sectors, count: u16::from(tag) << 3, block, device: LBA_MODE }
    }

    /// Reads `sectors` (0 means 65536) from `block`, alone.
    pub(super) fn read(block: u64, sectors: u16) -> Self {
        Self { count: sectors, block, device: LBA_MODE, ..Self::new(code::READ_DMA_EXT) }
    }

    /// Writes `sectors` (0 means 65536) from `block`, alone.
    pub(super) fn write(block: u64, sectors: u16) -> Self {
        Self { count: sectors, block, device: LBA_MODE, ..Self::new(code::WRITE_DMA_EXT) }
    }

    /// Writes the drive's cache back.
    pub(super) fn flush() -> Self {
        Self { device: LBA_MODE, ..Self::new(code::FLUSH_CACHE_EXT) }
    }

    /// Says which sectors are needed no more, as one block of [`trim_ranges`].
    pub(super) fn trim() -> Self {
        Self { features: u16::from(TRIM), count: 1, device: LBA_MODE, ..Self::new(code::DATA_SET_MANAGEMENT) }
    }

    /// Asks what the drive is, in 512 bytes.
    pub(super) fn identify() -> Self {
        Self::new(code::IDENTIFY_DEVICE)
    }

    /// The frame's bytes (Serial ATA 3.1, section 10.5.5).
    #[inline]
    pub(super) fn bytes(self) -> [u8; FRAME_BYTES] {
        let [b0, b1, b2, b3, b4, b5, ..] = self.block.to_le_bytes();
        let ([f0, f1], [c0, c1]) = (self.features.to_le_bytes(), self.count.to_le_bytes());
        [
            HOST_TO_DEVICE,
            IS_COMMAND,
            self.code,
            f0, //
            b0,
            b1,
            b2,
            self.device, //
            b3,
            b4,
            b5,
            f1, //
            c0,
            c1,
            0,
            0, //
            0,
            0,
            0,
            0,
        ]
    }
}

/// The first two dwords of a command header: length of the frame in dwords, direction, number of regions; bytes moved so far.
#[inline]
pub(super) fn header(regions: usize, is_write: bool) -> u64 {
    let write = if is_write { 1 << 6 } else { 0 };
    (FRAME_BYTES as u64 / 4) | write | ((regions as u64 & 0xffff) << 16)
}

/// Memory that cannot be said in regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBuffer {
    /// An odd address or length.
    Misaligned,
    /// More regions than a table has.
    TooLong,
    /// An address beyond the 32 bits that this adapter has.
    TooHigh,
}

/// Describes `segments` as regions, each given to `entry(index, address, last word)`; tells how many.
#[inline]
pub(super) fn describe(
    segments: impl Iterator<Item = Segment>,
    has_wide_addresses: bool,
    mut entry: impl FnMut(usize, u64, u64),
) -> Result<usize, BadBuffer> {
    let mut regions = 0;
    for segment in segments {
        if segment.address % 2 != 0 || segment.length % 2 != 0 {
            return Err(BadBuffer::Misaligned);
        }
        let end = segment.address.checked_add(u64::from(segment.length)).ok_or(BadBuffer::TooHigh)?;
        if !has_wide_addresses && end > 1 << 32 {
            return Err(BadBuffer::TooHigh);
        }
        let (mut at, mut left) = (segment.address, segment.length);
        while left > 0 {
            let bytes = left.min(MAX_REGION);
            if regions == MAX_REGIONS {
                return Err(BadBuffer::TooLong);
            }
            // The third dword is reserved, the fourth has the number of bytes less one.
            entry(regions, at, u64::from(bytes - 1) << 32);
            regions += 1;
            at += u64::from(bytes);
            left -= bytes;
        }
    }
    Ok(regions)
}

/// The block of ranges for [`Frame::trim`]: 48 bits of start and 16 bits of length each, zeros after the last (ACS-3, 7.5.3).
/// At most [`MAX_TRIM_SECTORS`].
pub(super) fn trim_ranges(start: u64, sectors: u32) -> [u8; TRIM_BYTES] {
    let mut bytes = [0; TRIM_BYTES];
    let (mut at, mut left) = (start, sectors);
    for range in bytes.chunks_exact_mut(8) {
        let count = left.min(MAX_TRIM_RANGE);
        if count == 0 {
            break;
        }
        let word = (at & 0xffff_ffff_ffff) | (u64::from(count) << 48);
        range.copy_from_slice(&word.to_le_bytes());
        at = at.wrapping_add(u64::from(count));
        left -= count;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_queued_read_has_its_count_in_features_and_its_tag_in_count() {
        let bytes = Frame::read_queued(0x0605_0403_0201, 0x1234, 17).bytes();
        assert_eq!(bytes[..4], [0x27, 0x80, 0x60, 0x34]);
        assert_eq!(bytes[4..8], [1, 2, 3, 0x40]);
        assert_eq!(bytes[8..12], [4, 5, 6, 0x12]);
        assert_eq!(bytes[12..14], [17 << 3, 0]);
    }

    #[test]
    fn a_plain_write_has_its_count_in_count() {
        let bytes = Frame::write(0x0102, 0x0100).bytes();
        assert_eq!(bytes[..4], [0x27, 0x80, 0x35, 0]);
        assert_eq!(bytes[4..8], [2, 1, 0, 0x40]);
        assert_eq!(bytes[11..14], [0, 0, 1]);
    }

    #[test]
    fn a_header_says_five_dwords_the_direction_and_the_regions() {
        assert_eq!(header(3, true), 0x0003_0045);
        assert_eq!(header(0, false), 5);
    }

    #[test]
    fn regions_are_even_fit_the_table_and_have_lengths_less_one() {
        let describe_all = |segments: &[(u64, u32)], wide| {
            let mut regions = Vec::new();
            let segments = segments.iter().map(|&(address, length)| Segment { address, length });
            describe(segments, wide, |_, at, last| regions.push((at, last >> 32))).map(|_| regions)
        };
        assert_eq!(
            describe_all(&[(0x1000, 512), (0x9000, 4096)], true),
            Ok(Vec::from([(0x1000, 511), (0x9000, 4095)]))
        );
        assert_eq!(
            describe_all(&[(0, 5 << 20)], true),
            Ok(Vec::from([(0, (4 << 20) - 1), (4 << 20, (1 << 20) - 1)]))
        );
        assert_eq!(describe_all(&[(0x1001, 512)], true), Err(BadBuffer::Misaligned));
        assert_eq!(describe_all(&[(0x1000, 511)], true), Err(BadBuffer::Misaligned));
        assert_eq!(describe_all(&[(0xffff_ff00, 512)], false), Err(BadBuffer::TooHigh));
        assert_eq!(describe_all(&[(u64::MAX - 1, 512)], true), Err(BadBuffer::TooHigh));
        assert_eq!(describe_all(&[(0x1000, 2); MAX_REGIONS], true).map(|r| r.len()), Ok(MAX_REGIONS));
        assert_eq!(describe_all(&[(0x1000, 2); MAX_REGIONS + 1], true), Err(BadBuffer::TooLong));
    }

    #[test]
    fn a_long_trim_is_several_ranges() {
        let bytes = trim_ranges(0x1_0000_0000, 0x1_0001);
        let range = |n: usize| u64::from_le_bytes(bytes[8 * n..8 * n + 8].try_into().unwrap());
        assert_eq!(range(0), 0xffff_0001_0000_0000);
        assert_eq!(range(1), 0x0002_0001_0000_ffff);
        assert_eq!(range(2), 0);
        let full = trim_ranges(0, MAX_TRIM_SECTORS);
        assert_eq!(full[TRIM_BYTES - 2..], [0xff, 0xff]);
    }
}
