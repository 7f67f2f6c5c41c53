// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in the journal's own blocks, all in big endian. Source: Linux `Documentation/filesystems/ext4/journal.rst`.

#![expect(dead_code, reason = "some names complete the list of the format")]

use crate::{
    checksum::{START, crc32c},
    error::{Error, Result},
    layout::{JOURNAL_MAGIC, part, part_mut},
};

/// Types of blocks.
pub(crate) mod kind {
    pub(crate) const DESCRIPTOR: u32 = 1;
    pub(crate) const COMMIT: u32 = 2;
    pub(crate) const SUPERBLOCK_V1: u32 = 3;
    pub(crate) const SUPERBLOCK_V2: u32 = 4;
    pub(crate) const REVOKE: u32 = 5;
}

/// Feature bits that must be known.
pub(crate) mod feature {
    pub(crate) const REVOKE: u32 = 0x1;
    pub(crate) const SIXTY_FOUR: u32 = 0x2;
    pub(crate) const ASYNC_COMMIT: u32 = 0x4;
    pub(crate) const CSUM_V2: u32 = 0x8;
    pub(crate) const CSUM_V3: u32 = 0x10;
    pub(crate) const FAST_COMMIT: u32 = 0x20;
}

/// Flags of tags.
pub(crate) mod tag {
    pub(crate) const ESCAPED: u32 = 1;
    pub(crate) const SAME_UUID: u32 = 2;
    pub(crate) const LAST: u32 = 8;
}

/// Where fields of the superblock are.
pub(crate) mod field {
    pub(crate) const BLOCK_SIZE: usize = 0xc;
    pub(crate) const MAX_LEN: usize = 0x10;
    pub(crate) const FIRST: usize = 0x14;
    pub(crate) const SEQUENCE: usize = 0x18;
    pub(crate) const START: usize = 0x1c;
    pub(crate) const ERRNO: usize = 0x20;
    pub(crate) const COMPAT: usize = 0x24;
    pub(crate) const INCOMPAT: usize = 0x28;
    pub(crate) const UUID: usize = 0x30;
    pub(crate) const CHECKSUM_TYPE: usize = 0x50;
    pub(crate) const FAST_COMMIT_BLOCKS: usize = 0x54;
    pub(crate) const CHECKSUM: usize = 0xfc;
}

/// Bytes of the header that each block starts with.
pub(crate) const HEADER: usize = 12;
/// Where a commit block has its checksum.
pub(crate) const COMMIT_CHECKSUM: usize = 16;

/// A big-endian number.
pub(crate) fn be32(bytes: &[u8], at: usize) -> Result<u32> {
    let word = part(bytes, at, 4)?.try_into().map_err(|_| Error::Corrupt("a number in the journal"))?;
    Ok(u32::from_be_bytes(word))
}

/// Writes one.
pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) -> Result<()> {
    part_mut(bytes, at, 4)?.copy_from_slice(&value.to_be_bytes());
    Ok(())
}

/// The type and the sequence number of one of the journal's own blocks.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<(u32, u32)>> {
    if be32(bytes, 0)? != JOURNAL_MAGIC {
        return Ok(None);
    }
    Ok(Some((be32(bytes, 4)?, be32(bytes, 8)?)))
}

/// The checksum of a block whose four bytes at `at` are the checksum itself.
pub(crate) fn checksum_around(seed: u32, bytes: &[u8], at: usize) -> Result<u32> {
    let behind = bytes.get(at + 4..).unwrap_or_default();
    Ok(crc32c(seed, &[part(bytes, 0, at)?, &[0; 4], behind]))
}

/// What is fixed for a journal.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pub block_size: usize,
    /// The first block of the log.
    pub first: u32,
    /// The block behind it.
    pub end: u32,
    pub incompat: u32,
    current: bool,
    /// What checksums start with.
    pub seed: u32,
}

/// A block that a descriptor says follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    /// Its place in the file system.
    pub block: u64,
    pub flags: u32,
    pub checksum: u32,
}

impl Format {
    /// Checks the superblock of a journal that has `blocks` blocks.
    pub(crate) fn parse(bytes: &[u8], block_size: usize, blocks: u32) -> Result<Self> {
        let version = match header(bytes)? {
            Some((kind::SUPERBLOCK_V1, _)) => 1,
            Some((kind::SUPERBLOCK_V2, _)) => 2,
            _ => return Err(Error::Corrupt("no superblock of a journal")),
        };
        let incompat = if version == 1 { 0 } else { be32(bytes, field::INCOMPAT)? };
        let known = feature::REVOKE
            | feature::SIXTY_FOUR
            | feature::ASYNC_COMMIT
            | feature::CSUM_V2
            | feature::CSUM_V3
            | feature::FAST_COMMIT;
        if incompat & !known != 0 {
            return Err(Error::Unsupported("an unknown feature of the journal"));
        }
        let checked = feature::CSUM_V2 | feature::CSUM_V3;
        if incompat & checked == checked {
            return Err(Error::Corrupt("two kinds of checksums in the journal"));
        }
        if incompat & checked != 0 {
            if part(bytes, field::CHECKSUM_TYPE, 1)? != [4] {
                return Err(Error::Unsupported("a type of checksum other than crc32c in the journal"));
            }
            let all = part(bytes, 0, 1024)?;
            if checksum_around(START, all, field::CHECKSUM)? != be32(bytes, field::CHECKSUM)? {
                return Err(Error::Corrupt("the checksum of the journal's superblock"));
            }
        }
        let (first, len) = (be32(bytes, field::FIRST)?, be32(bytes, field::MAX_LEN)?);
        let mut end = len;
        if incompat & feature::FAST_COMMIT != 0 {
            let fast = match be32(bytes, field::FAST_COMMIT_BLOCKS)? {
                0 => 256,
                some => some,
            };
            end = len.saturating_sub(fast);
        }
        if be32(bytes, field::BLOCK_SIZE)? as usize != block_size
            || len > blocks
            || first == 0
            || first >= end
        {
            return Err(Error::Corrupt("the measures of the journal"));
        }
        let seed = crc32c(START, &[part(bytes, field::UUID, 16)?]);
        Ok(Self { block_size, first, end, incompat, current: version == 2, seed })
    }

    pub(crate) fn has(&self, feature: u32) -> bool {
        self.incompat & feature != 0
    }

    /// Whether blocks have checksums.
    pub(crate) fn has_checksums(&self) -> bool {
        self.has(feature::CSUM_V2 | feature::CSUM_V3)
    }

    /// Whether its superblock is of version 2, which has features.
    pub(crate) fn is_current(&self) -> bool {
        self.current
    }

    /// The block behind one, in the ring.
    pub(crate) fn next(&self, block: u32) -> u32 {
        if block + 1 >= self.end { self.first } else { block + 1 }
    }

    /// Blocks of the ring.
    pub(crate) fn len(&self) -> u32 {
        self.end - self.first
    }

    /// Bytes of a tag without a UUID.
    pub(crate) fn tag_size(&self) -> usize {
        if self.has(feature::CSUM_V3) {
            return 16;
        }
        let sum = if self.has(feature::CSUM_V2) { 2 } else { 0 };
        let high = if self.has(feature::SIXTY_FOUR) { 4 } else { 0 };
        8 + sum + high
    }

    /// Where a descriptor's or revoke block's content ends.
    pub(crate) fn content_end(&self) -> usize {
        self.block_size - if self.has_checksums() { 4 } else { 0 }
    }

    /// Whether a descriptor's or revoke block's checksum, at its end, is right.
    pub(crate) fn is_tail_right(&self, bytes: &[u8]) -> Result<bool> {
        let at = self.block_size - 4;
        Ok(!self.has_checksums() || checksum_around(self.seed, bytes, at)? == be32(bytes, at)?)
    }

    /// Whether a commit block's checksum is right.
    pub(crate) fn is_commit_right(&self, bytes: &[u8]) -> Result<bool> {
        Ok(!self.has_checksums()
            || checksum_around(self.seed, bytes, COMMIT_CHECKSUM)? == be32(bytes, COMMIT_CHECKSUM)?)
    }

    /// A block's checksum, as a tag has it.
    pub(crate) fn data_checksum(&self, sequence: u32, bytes: &[u8]) -> u32 {
        let sum = crc32c(self.seed, &[&sequence.to_be_bytes(), bytes]);
        if self.has(feature::CSUM_V3) { sum } else { sum & 0xffff }
    }

    /// The tags of a descriptor.
    pub(crate) fn tags(&self, bytes: &[u8], mut each: impl FnMut(Tag) -> Result<()>) -> Result<()> {
        let mut at = HEADER;
        while at + self.tag_size() <= self.content_end() {
            let low = be32(bytes, at)?;
            let (flags, checksum, high) = if self.has(feature::CSUM_V3) {
                (be32(bytes, at + 4)?, be32(bytes, at + 12)?, be32(bytes, at + 8)?)
            } else {
                let both = be32(bytes, at + 4)?;
                let high = if self.has(feature::SIXTY_FOUR) { be32(bytes, at + 8)? } else { 0 };
                (both & 0xffff, both >> 16, high)
            };
            let high = if self.has(feature::SIXTY_FOUR) { high } else { 0 };
            at += self.tag_size();
            if flags & tag::SAME_UUID == 0 {
                at += 16;
            }
            each(Tag { block: (u64::from(high) << 32) | u64::from(low), flags, checksum })?;
            if flags & tag::LAST != 0 {
                break;
            }
        }
        Ok(())
    }

    /// The blocks that a revoke block names.
    pub(crate) fn revoked(&self, bytes: &[u8], mut each: impl FnMut(u64)) -> Result<()> {
        let end = be32(bytes, HEADER)? as usize;
        if end < HEADER + 4 || end > self.content_end() {
            return Err(Error::Corrupt("the length of a revoke block"));
        }
        let wide = self.has(feature::SIXTY_FOUR);
        let size = if wide { 8 } else { 4 };
        let mut at = HEADER + 4;
        while at + size <= end {
            let first = be32(bytes, at)?;
            each(if wide {
                (u64::from(first) << 32) | u64::from(be32(bytes, at + 4)?)
            } else {
                u64::from(first)
            });
            at += size;
        }
        Ok(())
    }
}
