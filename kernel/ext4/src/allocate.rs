// SPDX-License-Identifier: MIT OR Apache-2.0
//! Blocks are taken and given back. Source: Linux `Documentation/filesystems/ext4/bitmaps.rst` and `group_descr.rst`.

use crate::{
    buffers::Checked,
    checksum::crc32c,
    device::BlockDevice,
    error::{Error, Result},
    features::incompat,
    geometry::Geometry,
    groups::{BLOCK_UNINIT, Group, bit},
    layout::part,
    volume::Ext4,
};

/// Sets or clears bits that all are the other way round now.
pub(crate) fn flip(bitmap: &mut [u8], first: u32, count: u32, set: bool) -> Result<()> {
    for index in first..first + count {
        let Some(byte) = bitmap.get_mut(index as usize / 8) else {
            return Err(Error::Corrupt("a block behind the end of its group"));
        };
        let mask = 1 << (index % 8);
        if (*byte & mask != 0) == set {
            return Err(Error::Corrupt("a bitmap that does not know what is used"));
        }
        *byte ^= mask;
    }
    Ok(())
}

/// The first bit from `from` on, before `end`, that `is_free`; whole bytes that are used are passed over.
pub(crate) fn first_free(bitmap: &[u8], from: u32, end: u32, is_free: impl Fn(u32) -> bool) -> Option<u32> {
    let mut index = from;
    while index < end {
        if index % 8 == 0 && bitmap.get(index as usize / 8) == Some(&0xff) {
            index += 8;
            continue;
        }
        if is_free(index) {
            return Some(index);
        }
        index += 1;
    }
    None
}

impl Geometry {
    /// Blocks at a group's start for the superblock, the descriptors, and room for more descriptors.
    fn base_blocks(&self, group: u32, reserved: u16) -> u32 {
        let per_block = self.block_size / u32::from(self.descriptor_size);
        let has_superblock = self.has_superblock(group);
        let meta = self.incompat & incompat::META_BG != 0;
        if !meta || group / per_block < self.first_meta_bg {
            let all = self.groups.div_ceil(per_block);
            let descriptors = if meta { all.min(self.first_meta_bg) } else { all };
            return if has_superblock { 1 + descriptors + u32::from(reserved) } else { 0 };
        }
        let index = group % per_block;
        u32::from(has_superblock) + u32::from(index <= 1 || index == per_block - 1)
    }
}

impl<D: BlockDevice> Ext4<D> {
    /// A group whose bitmap of blocks can be read.
    fn group_with_bitmap(&mut self, number: u32) -> Result<Group> {
        let mut group = self.group(number)?;
        if !self.geometry.has_group_checksums() || group.flags & BLOCK_UNINIT == 0 {
            let bits = self.geometry.blocks_per_group;
            let sum = group.block_bitmap_checksum;
            self.bitmap(group.block_bitmap, Checked::BlockBitmap(number), bits, sum)?;
            return Ok(group);
        }
        let reserved = self.superblock()?.reserved_gdt_blocks.get();
        let geometry = &self.geometry;
        let (first, count) = geometry.group_blocks(number);
        let bitmap = self.buffers.create(group.block_bitmap, Checked::BlockBitmap(number))?;
        flip(bitmap, 0, geometry.base_blocks(number, reserved).min(count), true)?;
        let table = (group.inode_table, geometry.inode_table_blocks());
        for (start, len) in [(group.block_bitmap, 1), (group.inode_bitmap, 1), table] {
            for block in start..start + len {
                if block >= first && block < first + u64::from(count) {
                    flip(bitmap, (block - first) as u32, 1, true)?;
                }
            }
        }
        let bits = geometry.block_size * 8;
        flip(bitmap, count, bits - count, true)?;
        group.flags &= !BLOCK_UNINIT;
        self.seal_block_bitmap(&mut group)?;
        self.store_group(number, &group)?;
        Ok(group)
    }

    fn seal_block_bitmap(&mut self, group: &mut Group) -> Result<()> {
        if self.geometry.metadata_csum() {
            let bytes = self.buffers.read(group.block_bitmap)?;
            let len = self.geometry.blocks_per_group as usize / 8;
            group.block_bitmap_checksum = crc32c(self.geometry.seed, &[part(&bytes, 0, len)?]);
        }
        Ok(())
    }

    fn change_blocks(
        &mut self,
        number: u32,
        mut group: Group,
        first: u32,
        count: u32,
        take: bool,
    ) -> Result<()> {
        flip(self.buffers.modify(group.block_bitmap)?, first, count, take)?;
        group.free_blocks = if take {
            group.free_blocks.checked_sub(count)
        } else {
            group.free_blocks.checked_add(count).filter(|free| *free <= self.geometry.blocks_per_group)
        }
        .ok_or(Error::Corrupt("a group's count of free blocks"))?;
        self.seal_block_bitmap(&mut group)?;
        self.store_group(number, &group)?;
        self.add_free(if take { -i64::from(count) } else { i64::from(count) }, 0)
    }

    /// Takes up to `count` blocks that are together, at least one, near `goal`: the first, and how many.
    pub(crate) fn allocate_blocks(&mut self, goal: u64, count: u32) -> Result<(u64, u32)> {
        let goal =
            if self.geometry.is_data(goal, 1) { goal } else { u64::from(self.geometry.first_data_block) + 1 };
        let (start, goal_bit) = self.geometry.group_of_block(goal);
        let groups = self.geometry.groups;
        // At the goal, then groups with room for all, then any. The goal's group comes again for what is before the goal.
        for wanted in [count, 1] {
            for step in 0..=groups {
                let number = (start + step) % groups;
                let from = if step == 0 { goal_bit } else { 0 };
                if self.group(number)?.free_blocks < wanted.min(self.geometry.blocks_per_group / 2) {
                    continue;
                }
                let group = self.group_with_bitmap(number)?;
                if let Some((bit, found)) = self.find_run(number, &group, from, count, wanted)? {
                    let (first, _) = self.geometry.group_blocks(number);
                    self.change_blocks(number, group, bit, found, true)?;
                    return Ok((first + u64::from(bit), found));
                }
            }
        }
        Err(Error::NoSpace)
    }

    /// Free bits of a group that are together: at least `wanted`, if that is not too much to hope for, and at most `count`.
    fn find_run(
        &mut self,
        number: u32,
        group: &Group,
        from: u32,
        count: u32,
        wanted: u32,
    ) -> Result<Option<(u32, u32)>> {
        let bitmap = self.buffers.read(group.block_bitmap)?;
        let before = self.buffers.before(group.block_bitmap);
        let (_, end) = self.geometry.group_blocks(number);
        let is_free =
            |index: u32| !bit(&bitmap, index) && !before.as_ref().is_some_and(|before| bit(before, index));
        let wanted = wanted.min(64);
        let mut at = from;
        while let Some(first) = first_free(&bitmap, at, end, is_free) {
            let len = (first..end.min(first.saturating_add(count)))
                .take_while(|index| is_free(*index))
                .count() as u32;
            if len >= wanted {
                return Ok(Some((first, len)));
            }
            at = first + len;
        }
        Ok(None)
    }

    /// Gives blocks back.
    pub(crate) fn free_blocks(&mut self, mut first: u64, mut count: u64) -> Result<()> {
        if !self.geometry.is_data(first, count) {
            return Err(Error::Corrupt("blocks behind the end"));
        }
        while count > 0 {
            let (number, index) = self.geometry.group_of_block(first);
            let (_, blocks) = self.geometry.group_blocks(number);
            let some = count.min(u64::from(blocks - index)) as u32;
            let group = self.group_with_bitmap(number)?;
            self.change_blocks(number, group, index, some, false)?;
            first += u64::from(some);
            count -= u64::from(some);
        }
        Ok(())
    }

    /// Gives back a block that held metadata.
    pub(crate) fn free_metadata(&mut self, block: u64) -> Result<()> {
        self.free_blocks(block, 1)?;
        self.buffers.forget(block);
        Ok(())
    }
}
