// SPDX-License-Identifier: MIT OR Apache-2.0
//! Groups of blocks: their descriptors, and through them their bitmaps.

use crate::{
    buffers::{Block, Checked},
    checksum::crc32c,
    device::BlockDevice,
    error::{Error, Result},
    features::incompat,
    geometry::Geometry,
    layout::{RawGroup, part, part_mut, view, view_mut},
    volume::Ext4,
};

/// Its inodes are all free, and neither table nor bitmap have ever been written.
pub(crate) const INODE_UNINIT: u16 = 1;
/// Its bitmap of blocks has never been written.
pub(crate) const BLOCK_UNINIT: u16 = 2;

/// A group's descriptor, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
    pub free_blocks: u32,
    pub free_inodes: u32,
    pub used_directories: u32,
    /// Inodes at the end of the table that were never used.
    pub unused_inodes: u32,
    pub flags: u16,
    pub block_bitmap_checksum: u32,
    pub inode_bitmap_checksum: u32,
}

fn join(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

fn join16(high: u16, low: u16) -> u32 {
    (u32::from(high) << 16) | u32::from(low)
}

impl Group {
    fn parse(geometry: &Geometry, number: u32, bytes: &[u8]) -> Result<Self> {
        let mut whole = [0; 64];
        copy_start(bytes, &mut whole);
        let raw: &RawGroup = view(&whole, 0)?;
        if geometry.verify
            && geometry.descriptor_checksum(number, bytes)?.is_some_and(|sum| sum != raw.checksum.get())
        {
            return Err(Error::Corrupt("a group descriptor's checksum"));
        }
        let group = Self {
            block_bitmap: join(raw.block_bitmap_hi.get(), raw.block_bitmap_lo.get()),
            inode_bitmap: join(raw.inode_bitmap_hi.get(), raw.inode_bitmap_lo.get()),
            inode_table: join(raw.inode_table_hi.get(), raw.inode_table_lo.get()),
            free_blocks: join16(raw.free_blocks_hi.get(), raw.free_blocks_lo.get()),
            free_inodes: join16(raw.free_inodes_hi.get(), raw.free_inodes_lo.get()),
            used_directories: join16(raw.used_dirs_hi.get(), raw.used_dirs_lo.get()),
            unused_inodes: join16(raw.itable_unused_hi.get(), raw.itable_unused_lo.get()),
            flags: raw.flags.get(),
            block_bitmap_checksum: join16(raw.block_bitmap_csum_hi.get(), raw.block_bitmap_csum_lo.get()),
            inode_bitmap_checksum: join16(raw.inode_bitmap_csum_hi.get(), raw.inode_bitmap_csum_lo.get()),
        };
        let table = geometry.inode_table_blocks();
        let (first, count) = match geometry.incompat & incompat::FLEX_BG {
            0 => geometry.group_blocks(number),
            _ => (u64::from(geometry.first_data_block), 0),
        };
        let within = |block: u64, len: u64| {
            geometry.is_data(block, len)
                && (count == 0 || block >= first && block + len <= first + u64::from(count))
        };
        if !within(group.block_bitmap, 1)
            || !within(group.inode_bitmap, 1)
            || !within(group.inode_table, table)
        {
            return Err(Error::Corrupt("the place of a group's bitmaps or inodes"));
        }
        if group.free_blocks > geometry.group_blocks(number).1
            || group.free_inodes > geometry.inodes_per_group
            || group.unused_inodes > geometry.inodes_per_group
        {
            return Err(Error::Corrupt("a group's counts"));
        }
        Ok(group)
    }
}

/// Copies what there is to the start of something longer.
fn copy_start(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

impl Geometry {
    /// Blocks of each group's table of inodes.
    pub(crate) fn inode_table_blocks(&self) -> u64 {
        (u64::from(self.inodes_per_group) * u64::from(self.inode_size)).div_ceil(u64::from(self.block_size))
    }

    /// Whether the upper halves of bitmaps' checksums are kept.
    pub(crate) fn wide_descriptors(&self) -> bool {
        self.descriptor_size >= 64
    }
}

impl<D: BlockDevice> Ext4<D> {
    /// A group's descriptor.
    pub(crate) fn group(&mut self, number: u32) -> Result<Group> {
        let (block, at) = self.geometry.descriptor_place(number)?;
        let bytes = self.buffers.read(block)?;
        Group::parse(&self.geometry, number, part(&bytes, at, usize::from(self.geometry.descriptor_size))?)
    }

    /// Writes a group's descriptor, as part of the operation that runs.
    pub(crate) fn store_group(&mut self, number: u32, group: &Group) -> Result<()> {
        let (block, at) = self.geometry.descriptor_place(number)?;
        let size = usize::from(self.geometry.descriptor_size);
        let bytes = part_mut(self.buffers.modify(block)?, at, size)?;
        let mut whole = [0; 64];
        copy_start(bytes, &mut whole);
        let raw: &mut RawGroup = view_mut(&mut whole, 0)?;
        raw.free_blocks_lo.set(group.free_blocks as u16);
        raw.free_blocks_hi.set((group.free_blocks >> 16) as u16);
        raw.free_inodes_lo.set(group.free_inodes as u16);
        raw.free_inodes_hi.set((group.free_inodes >> 16) as u16);
        raw.used_dirs_lo.set(group.used_directories as u16);
        raw.used_dirs_hi.set((group.used_directories >> 16) as u16);
        raw.itable_unused_lo.set(group.unused_inodes as u16);
        raw.itable_unused_hi.set((group.unused_inodes >> 16) as u16);
        raw.flags.set(group.flags);
        raw.block_bitmap_csum_lo.set(group.block_bitmap_checksum as u16);
        raw.block_bitmap_csum_hi.set((group.block_bitmap_checksum >> 16) as u16);
        raw.inode_bitmap_csum_lo.set(group.inode_bitmap_checksum as u16);
        raw.inode_bitmap_csum_hi.set((group.inode_bitmap_checksum >> 16) as u16);
        copy_start(&whole, bytes);
        if let Some(sum) = self.geometry.descriptor_checksum(number, bytes)? {
            part_mut(bytes, 0x1e, 2)?.copy_from_slice(&sum.to_le_bytes());
        }
        Ok(())
    }

    /// A bitmap whose checksum is `expected`, of `bits` that count.
    pub(crate) fn bitmap(&mut self, block: u64, kind: Checked, bits: u32, expected: u32) -> Result<Block> {
        let geometry = &self.geometry;
        self.buffers.read_checked(block, kind, |bytes| {
            if !geometry.checks() {
                return Ok(());
            }
            let sum = crc32c(geometry.seed, &[part(bytes, 0, bits as usize / 8)?]);
            let mask = if geometry.wide_descriptors() { !0 } else { 0xffff };
            if sum & mask != expected & mask {
                return Err(Error::Corrupt("a bitmap's checksum"));
            }
            Ok(())
        })
    }

    /// Whether an inode is in use, as its group's bitmap says.
    pub fn is_inode_used(&mut self, inode: u32) -> Result<bool> {
        let (number, index) = self.geometry.group_of_inode(inode)?;
        let group = self.group(number)?;
        if self.geometry.has_group_checksums() && group.flags & INODE_UNINIT != 0 {
            return Ok(false);
        }
        let bits = self.geometry.inodes_per_group;
        let bitmap =
            self.bitmap(group.inode_bitmap, Checked::InodeBitmap(number), bits, group.inode_bitmap_checksum)?;
        Ok(bit(&bitmap, index))
    }
}

/// A bit of a bitmap; those behind its end are set.
pub(crate) fn bit(bitmap: &[u8], index: u32) -> bool {
    bitmap.get(index as usize / 8).is_none_or(|byte| (byte >> (index % 8)) & 1 == 1)
}
