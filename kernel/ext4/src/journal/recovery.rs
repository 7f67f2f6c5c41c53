// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in the journal after a crash goes where it belongs: first it is seen how far whole transactions go, then what was revoked,
//! then the last copy of each block is put in its place, or, on a disk that is not written to, read from the journal ever after.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    buffers::{Buffers, Redirect},
    device::BlockDevice,
    error::{Error, Result},
    journal::{
        format::{self, Format, be32, feature, field, header, kind, tag},
        place::Blocks,
    },
    layout::{JOURNAL_MAGIC, zeroed},
};

/// What recovery found.
#[derive(Default)]
pub(crate) struct Recovered {
    /// For each block, its last copy.
    pub blocks: BTreeMap<u64, Redirect>,
    /// The sequence number of the next transaction.
    pub sequence: u32,
}

/// Blocks that one image's journal may change: maps of them are in memory.
const MOST_BLOCKS: usize = 1 << 18;

/// Whether `a` is `b` or comes after it: sequence numbers go round.
fn is_not_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 >= 0
}

/// A walk over the blocks of the log.
struct Walk<'a, D> {
    buffers: &'a mut Buffers<D>,
    blocks: &'a Blocks,
    format: &'a Format,
    /// The next block.
    at: u32,
    /// How many more there can be.
    left: u32,
}

impl<D: BlockDevice> Walk<'_, D> {
    fn skip(&mut self, count: u32) -> bool {
        if count > self.left {
            return false;
        }
        self.left -= count;
        // At most the ring's length once more.
        let len = self.format.len();
        let index = (self.at - self.format.first + count % len) % len;
        self.at = self.format.first + index;
        true
    }

    fn next(&mut self, to: &mut [u8]) -> Result<bool> {
        let at = self.at;
        if !self.skip(1) {
            return Ok(false);
        }
        self.buffers.read_device(self.blocks.place(at)?, to)?;
        Ok(true)
    }
}

/// One of the journal's own blocks that belongs to a transaction.
enum Part<'a> {
    Descriptor(&'a [u8], u32),
    Revoke(&'a [u8]),
}

/// Walks over whole transactions, from the first on, until `end` or the last. Gives the sequence number behind it.
fn walk<D: BlockDevice>(
    buffers: &mut Buffers<D>,
    blocks: &Blocks,
    format: &Format,
    (start, first): (u32, u32),
    end: Option<u32>,
    mut each: impl FnMut(Part<'_>, u32) -> Result<()>,
) -> Result<u32> {
    let mut bytes = zeroed(format.block_size)?;
    let mut walk = Walk { buffers, blocks, format, at: start, left: format.len() };
    let mut sequence = first;
    while end != Some(sequence) && walk.next(&mut bytes)? {
        let block = match header(&bytes)? {
            Some((block, its)) if its == sequence => block,
            _ => break,
        };
        let at = walk.at;
        match block {
            kind::DESCRIPTOR if format.is_tail_right(&bytes)? => {
                let mut count = 0;
                format.tags(&bytes, |_| {
                    count += 1;
                    Ok(())
                })?;
                if !walk.skip(count) {
                    break;
                }
                each(Part::Descriptor(&bytes, at), sequence)?;
            }
            kind::REVOKE if format.is_tail_right(&bytes)? => each(Part::Revoke(&bytes), sequence)?,
            kind::COMMIT if format.is_commit_right(&bytes)? => sequence = sequence.wrapping_add(1),
            _ => break,
        }
    }
    Ok(sequence)
}

/// Finds what is in the journal whose superblock is `superblock`. Nothing is written.
pub(crate) fn find<D: BlockDevice>(
    buffers: &mut Buffers<D>,
    blocks: &Blocks,
    format: &Format,
    superblock: &[u8],
) -> Result<Recovered> {
    let from = (be32(superblock, field::START)?, be32(superblock, field::SEQUENCE)?);
    let mut found = Recovered { sequence: from.1, ..Recovered::default() };
    if from.0 == 0 {
        return Ok(found);
    }
    if from.0 < format.first || from.0 >= format.end {
        return Err(Error::Corrupt("the start of the journal"));
    }
    if format.has(feature::FAST_COMMIT) {
        return Err(Error::Unsupported("fast commits that are not in their places yet"));
    }
    if format.has(feature::ASYNC_COMMIT) && !format.has_checksums() {
        return Err(Error::Unsupported("journal_async_commit without checksums"));
    }
    let end = walk(buffers, blocks, format, from, None, |_, _| Ok(()))?;
    let mut revoked: BTreeMap<u64, u32> = BTreeMap::new();
    walk(buffers, blocks, format, from, Some(end), |part, sequence| match part {
        Part::Descriptor(..) => Ok(()),
        Part::Revoke(bytes) => {
            if revoked.len() > MOST_BLOCKS {
                return Err(Error::Unsupported("a journal with more than 262144 revoked blocks"));
            }
            format.revoked(bytes, |block| {
                revoked.insert(block, sequence);
            })
        }
    })?;
    let mut copies: Vec<(u64, u32, format::Tag, u32)> = Vec::new();
    walk(buffers, blocks, format, from, Some(end), |part, sequence| match part {
        Part::Revoke(..) => Ok(()),
        Part::Descriptor(bytes, mut at) => format.tags(bytes, |tag| {
            let is_revoked = revoked.get(&tag.block).is_some_and(|by| is_not_before(*by, sequence));
            if !is_revoked {
                if copies.len() >= MOST_BLOCKS {
                    return Err(Error::Unsupported("a journal with more than 262144 blocks"));
                }
                copies.try_reserve(1).map_err(|_| Error::NoMemory)?;
                copies.push((tag.block, at, tag, sequence));
            }
            at = format.next(at);
            Ok(())
        }),
    })?;
    let mut bytes = zeroed(format.block_size)?;
    for (block, at, tag, sequence) in copies {
        let place = blocks.place(at)?;
        if format.has_checksums() {
            buffers.read_device(place, &mut bytes)?;
            if format.data_checksum(sequence, &bytes) != tag.checksum {
                return Err(Error::Corrupt("the checksum of a block in the journal"));
            }
        }
        buffers.check_place(block)?;
        found.blocks.insert(block, Redirect { block: place, escaped: tag.flags & tag::ESCAPED != 0 });
    }
    found.sequence = end.wrapping_add(1);
    Ok(found)
}

/// Puts what was found in its place.
pub(crate) fn put_in_place<D: BlockDevice>(buffers: &mut Buffers<D>, found: &Recovered) -> Result<()> {
    let mut bytes = zeroed(buffers.block_size())?;
    for (block, copy) in &found.blocks {
        buffers.read_device(copy.block, &mut bytes)?;
        if let (true, Some(start)) = (copy.escaped, bytes.get_mut(..4)) {
            start.copy_from_slice(&JOURNAL_MAGIC.to_be_bytes());
        }
        buffers.write_device(*block, &bytes)?;
    }
    buffers.forget_clean();
    buffers.device.flush()
}
