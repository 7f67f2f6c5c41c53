// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal as it is written. What makes it safe on a disk with a volatile write cache:
//!
//! 1. Blocks of a transaction go to the log, then a flush, then the block that says that it is whole, then a flush. The first flush makes
//!    file data durable too that was written before.
//! 2. Blocks go to their places only after that, and the space in the log is used again only when a flush has made them durable there
//!    and the journal's superblock, durable too, says that the log starts behind them.

use alloc::vec::Vec;

use crate::{
    buffers::{Block, Buffers},
    checksum::START,
    device::BlockDevice,
    error::{Error, Result},
    journal::{
        format::{COMMIT_CHECKSUM, Format, HEADER, checksum_around, feature, field, kind, put32, tag},
        place::Blocks,
    },
    layout::{JOURNAL_MAGIC, copied, part_mut, zeroed},
};

/// The journal of a file system that is written to.
pub(crate) struct Log {
    blocks: Blocks,
    format: Format,
    superblock: Vec<u8>,
    /// Where the next transaction goes, and its number.
    head: u32,
    sequence: u32,
    /// Blocks of the log in use.
    used: u32,
    /// Whether the superblock on the disk says where the log starts.
    started: bool,
}

impl Log {
    /// A journal that is empty. `sequence` is the number of its next transaction.
    pub(crate) fn new(
        blocks: Blocks,
        mut format: Format,
        mut superblock: Vec<u8>,
        sequence: u32,
        wide: bool,
        checksums: bool,
    ) -> Result<Self> {
        // As Linux does at each mount: features that the file system's own features ask for.
        format.incompat |= feature::REVOKE | if wide { feature::SIXTY_FOUR } else { 0 };
        format.incompat &= !(feature::ASYNC_COMMIT | feature::CSUM_V2 | feature::CSUM_V3);
        if checksums {
            format.incompat |= feature::CSUM_V3;
            part_mut(&mut superblock, field::CHECKSUM_TYPE, 1)?.fill(4);
        }
        put32(&mut superblock, field::INCOMPAT, format.incompat)?;
        put32(&mut superblock, field::COMPAT, 0)?;
        // Never 0: an old block of zeros must not pass for one of a transaction.
        let (head, sequence) = (format.first, sequence.max(1));
        Ok(Self { blocks, format, superblock, head, sequence, used: 0, started: false })
    }

    /// Blocks that one transaction may take in the log.
    pub(crate) fn most(&self) -> u32 {
        self.format.len() / 2
    }

    /// Blocks in the log for a transaction.
    pub(crate) fn needed(&self, blocks: usize, revoked: usize) -> u32 {
        let descriptors = blocks.div_ceil(self.tags_in_block());
        let revokes = revoked.div_ceil(self.revokes_in_block());
        u32::try_from(blocks + descriptors + revokes + 1).unwrap_or(u32::MAX)
    }

    fn tags_in_block(&self) -> usize {
        // The first has a UUID.
        (self.format.content_end() - HEADER - 16) / self.format.tag_size()
    }

    fn revokes_in_block(&self) -> usize {
        (self.format.content_end() - HEADER - 4) / self.revoke_size()
    }

    fn revoke_size(&self) -> usize {
        if self.format.has(feature::SIXTY_FOUR) { 8 } else { 4 }
    }

    fn write_superblock<D: BlockDevice>(&mut self, buffers: &mut Buffers<D>, start: u32) -> Result<()> {
        put32(&mut self.superblock, field::START, start)?;
        put32(&mut self.superblock, field::SEQUENCE, self.sequence)?;
        if self.format.has_checksums() {
            let all = self.superblock.get(..1024).unwrap_or_default();
            let sum = checksum_around(START, all, field::CHECKSUM)?;
            put32(&mut self.superblock, field::CHECKSUM, sum)?;
        }
        buffers.write_device(self.blocks.place(0)?, &self.superblock)
    }

    fn write<D: BlockDevice>(&mut self, buffers: &mut Buffers<D>, bytes: &[u8]) -> Result<()> {
        buffers.write_device(self.blocks.place(self.head)?, bytes)?;
        self.head = self.format.next(self.head);
        self.used += 1;
        Ok(())
    }

    fn own_block(&self, block: u32) -> Result<Vec<u8>> {
        let mut bytes = zeroed(self.format.block_size)?;
        put32(&mut bytes, 0, JOURNAL_MAGIC)?;
        put32(&mut bytes, 4, block)?;
        put32(&mut bytes, 8, self.sequence)?;
        Ok(bytes)
    }

    fn seal(&self, bytes: &mut [u8], at: usize) -> Result<()> {
        if self.format.has_checksums() {
            let sum = checksum_around(self.format.seed, bytes, at)?;
            put32(bytes, at, sum)?;
        }
        Ok(())
    }

    /// Makes the transaction durable.
    pub(crate) fn commit<D: BlockDevice>(&mut self, buffers: &mut Buffers<D>, seconds: i64) -> Result<()> {
        let (blocks, revoked) = buffers.running()?;
        if blocks.is_empty() && revoked.is_empty() {
            // File data may still wait for it.
            return buffers.device.flush();
        }
        let needed = self.needed(blocks.len(), revoked.len());
        if needed > self.format.len() - self.used {
            self.checkpoint(buffers)?;
        }
        if needed > self.format.len() {
            return Err(Error::NoSpace);
        }
        if !self.started {
            let head = self.head;
            self.write_superblock(buffers, head)?;
            self.started = true;
        }
        self.write_revokes(buffers, &revoked)?;
        for some in blocks.chunks(self.tags_in_block()) {
            self.write_blocks(buffers, some)?;
        }
        buffers.device.flush()?;
        let mut bytes = self.own_block(kind::COMMIT)?;
        part_mut(&mut bytes, 0x30, 8)?.copy_from_slice(&seconds.to_be_bytes());
        self.seal(&mut bytes, COMMIT_CHECKSUM)?;
        self.write(buffers, &bytes)?;
        buffers.device.flush()?;
        self.sequence = self.sequence.wrapping_add(1).max(1);
        buffers.committed();
        Ok(())
    }

    fn write_revokes<D: BlockDevice>(&mut self, buffers: &mut Buffers<D>, revoked: &[u64]) -> Result<()> {
        let size = self.revoke_size();
        for some in revoked.chunks(self.revokes_in_block()) {
            let mut bytes = self.own_block(kind::REVOKE)?;
            let start = HEADER + 4;
            put32(&mut bytes, HEADER, (start + some.len() * size) as u32)?;
            for (index, block) in some.iter().enumerate() {
                let at = start + index * size;
                if size == 8 {
                    part_mut(&mut bytes, at, 8)?.copy_from_slice(&block.to_be_bytes());
                } else {
                    put32(&mut bytes, at, *block as u32)?;
                }
            }
            let end = self.format.block_size - 4;
            self.seal(&mut bytes, end)?;
            self.write(buffers, &bytes)?;
        }
        Ok(())
    }

    /// Writes a descriptor and the blocks that it names.
    fn write_blocks<D: BlockDevice>(
        &mut self,
        buffers: &mut Buffers<D>,
        blocks: &[(u64, Block)],
    ) -> Result<()> {
        let mut bytes = self.own_block(kind::DESCRIPTOR)?;
        let mut at = HEADER;
        for (index, (block, content)) in blocks.iter().enumerate() {
            let escaped = content.starts_with(&JOURNAL_MAGIC.to_be_bytes());
            let mut flags = if escaped { tag::ESCAPED } else { 0 };
            flags |= if index > 0 { tag::SAME_UUID } else { 0 };
            flags |= if index + 1 == blocks.len() { tag::LAST } else { 0 };
            let sum = if escaped {
                self.format.data_checksum(self.sequence, &without_magic(content)?)
            } else {
                self.format.data_checksum(self.sequence, content)
            };
            put32(&mut bytes, at, *block as u32)?;
            let high = (block >> 32) as u32;
            if self.format.has(feature::CSUM_V3) {
                put32(&mut bytes, at + 4, flags)?;
                put32(&mut bytes, at + 8, high)?;
                put32(&mut bytes, at + 12, sum)?;
            } else {
                put32(&mut bytes, at + 4, flags)?;
                if self.format.has(feature::SIXTY_FOUR) {
                    put32(&mut bytes, at + 8, high)?;
                }
            }
            // A UUID of zeros follows the first: nobody reads it.
            at += self.format.tag_size() + if index == 0 { 16 } else { 0 };
        }
        let end = self.format.block_size - 4;
        self.seal(&mut bytes, end)?;
        self.write(buffers, &bytes)?;
        for (_, content) in blocks {
            if content.starts_with(&JOURNAL_MAGIC.to_be_bytes()) {
                self.write(buffers, &without_magic(content)?)?;
            } else {
                self.write(buffers, content)?;
            }
        }
        Ok(())
    }

    /// Puts all that was committed in its place, and empties the log.
    pub(crate) fn checkpoint<D: BlockDevice>(&mut self, buffers: &mut Buffers<D>) -> Result<()> {
        if self.used == 0 {
            return Ok(());
        }
        buffers.checkpoint()?;
        self.used = 0;
        let head = self.head;
        self.write_superblock(buffers, head)?;
        buffers.device.flush()
    }

    /// Says that there is nothing in a journal whose blocks are all in their places.
    pub(crate) fn forget<D: BlockDevice>(&mut self, buffers: &mut Buffers<D>) -> Result<()> {
        self.write_superblock(buffers, 0)?;
        buffers.device.flush()
    }

    /// The same at the end, after which the journal is said to be empty.
    pub(crate) fn close<D: BlockDevice>(&mut self, buffers: &mut Buffers<D>) -> Result<()> {
        self.checkpoint(buffers)?;
        self.started = false;
        self.forget(buffers)
    }
}

/// A block as it stands in the log if it starts like one of the journal's own.
fn without_magic(content: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = copied(content)?;
    part_mut(&mut bytes, 0, 4)?.fill(0);
    Ok(bytes)
}
