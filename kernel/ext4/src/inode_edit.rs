// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes as they are changed, taken and given back.

use crate::{
    allocate::{first_free, flip},
    buffers::Checked,
    checksum::crc32c,
    device::BlockDevice,
    error::{Error, Result},
    features::ro_compat,
    geometry::ROOT,
    groups::{Group, INODE_UNINIT, bit},
    inode::{Inode, Time, flags},
    layout::{RawInode, part, part_mut, view_mut, zeroed},
    volume::Ext4,
};

/// The bits behind the seconds: two more of these, and nanoseconds.
fn split(time: Time) -> (u32, u32) {
    let epoch = (time.seconds - i64::from(time.seconds as i32)) >> 32;
    (time.seconds as u32, (time.nanoseconds << 2) | (epoch as u32 & 3))
}

impl Inode {
    pub(crate) fn set_size(&mut self, size: u64) {
        self.raw.0.size_lo.set(size as u32);
        self.raw.0.size_hi.set((size >> 32) as u32);
    }

    pub(crate) fn set_links(&mut self, links: u16) {
        self.raw.0.links_count.set(links);
    }

    pub(crate) fn set_flag(&mut self, flag: u32) {
        let all = self.flags();
        self.raw.0.flags.set(all | flag);
    }

    pub(crate) fn set_owner(&mut self, uid: u32, gid: u32) {
        self.raw.0.uid_lo.set(uid as u16);
        self.raw.0.uid_hi.set((uid >> 16) as u16);
        self.raw.0.gid_lo.set(gid as u16);
        self.raw.0.gid_hi.set((gid >> 16) as u16);
    }

    pub(crate) fn set_mode(&mut self, mode: u16) {
        self.raw.0.mode.set(mode);
    }

    pub(crate) fn set_changed(&mut self, time: Time) {
        let (seconds, extra) = split(time);
        self.raw.0.ctime.set(seconds);
        self.raw.0.ctime_extra.set(extra);
    }

    pub(crate) fn set_modified(&mut self, time: Time) {
        let (seconds, extra) = split(time);
        self.raw.0.mtime.set(seconds);
        self.raw.0.mtime_extra.set(extra);
    }

    pub(crate) fn set_accessed(&mut self, time: Time) {
        let (seconds, extra) = split(time);
        self.raw.0.atime.set(seconds);
        self.raw.0.atime_extra.set(extra);
    }

    fn set_created(&mut self, time: Time) {
        let (seconds, extra) = split(time);
        self.raw.0.crtime.set(seconds);
        self.raw.0.crtime_extra.set(extra);
    }

    pub(crate) fn block_field_mut(&mut self) -> &mut [u8] {
        &mut self.raw.0.block
    }

    /// Says when it was deleted, or which orphan comes next.
    pub(crate) fn set_deleted(&mut self, value: u32) {
        self.raw.0.dtime.set(value);
    }

    pub(crate) fn deleted(&self) -> u32 {
        self.raw.0.dtime.get()
    }

    pub(crate) fn clear_attribute_block(&mut self) {
        self.raw.0.file_acl_lo.set(0);
        self.raw.0.file_acl_hi.set(0);
    }
}

impl<D: BlockDevice> Ext4<D> {
    /// Adds to what an inode takes on the disk.
    pub(crate) fn add_blocks(&mut self, inode: &mut Inode, blocks: i64) -> Result<()> {
        let unit = if inode.has(flags::HUGE_FILE) { 1 } else { i64::from(self.geometry.block_size / 512) };
        let huge = self.geometry.ro_compat & ro_compat::HUGE_FILE != 0;
        let high = if huge { u64::from(inode.raw.0.blocks_hi.get()) << 32 } else { 0 };
        let old = high | u64::from(inode.raw.0.blocks_lo.get());
        let new = old.checked_add_signed(blocks * unit).ok_or(Error::Corrupt("a file's count of blocks"))?;
        if new >> if huge { 48 } else { 32 } != 0 {
            return Err(Error::TooLarge);
        }
        inode.raw.0.blocks_lo.set(new as u32);
        if huge {
            inode.raw.0.blocks_hi.set((new >> 32) as u16);
        }
        Ok(())
    }

    /// Writes an inode, as part of the operation that runs.
    pub(crate) fn store(&mut self, inode: &mut Inode) -> Result<()> {
        let known = inode.known_bytes();
        for (to, from) in inode.bytes.iter_mut().zip(zerocopy::IntoBytes::as_bytes(&inode.raw.0)).take(known)
        {
            *to = *from;
        }
        if self.geometry.metadata_csum() {
            let sum = inode.checksum()?;
            inode.raw.0.checksum_lo.set(sum as u16);
            part_mut(&mut inode.bytes, 0x7c, 2)?.copy_from_slice(&(sum as u16).to_le_bytes());
            if known >= 132 {
                inode.raw.0.checksum_hi.set((sum >> 16) as u16);
                part_mut(&mut inode.bytes, 0x82, 2)?.copy_from_slice(&((sum >> 16) as u16).to_le_bytes());
            }
        }
        let (block, at) = self.inode_place(inode.number())?;
        part_mut(self.buffers.modify(block)?, at, inode.bytes.len())?.copy_from_slice(&inode.bytes);
        Ok(())
    }

    /// A group whose bitmap of inodes can be read.
    fn group_with_inodes(&mut self, number: u32) -> Result<Group> {
        let mut group = self.group(number)?;
        let bits = self.geometry.inodes_per_group;
        if !self.geometry.has_group_checksums() || group.flags & INODE_UNINIT == 0 {
            let sum = group.inode_bitmap_checksum;
            self.bitmap(group.inode_bitmap, Checked::InodeBitmap(number), bits, sum)?;
            return Ok(group);
        }
        let all = self.geometry.block_size * 8;
        let bitmap = self.buffers.create(group.inode_bitmap, Checked::InodeBitmap(number))?;
        flip(bitmap, bits, all - bits, true)?;
        group.flags &= !INODE_UNINIT;
        self.seal_inode_bitmap(&mut group)?;
        Ok(group)
    }

    fn seal_inode_bitmap(&mut self, group: &mut Group) -> Result<()> {
        if self.geometry.metadata_csum() {
            let bytes = self.buffers.read(group.inode_bitmap)?;
            let len = self.geometry.inodes_per_group as usize / 8;
            group.inode_bitmap_checksum = crc32c(self.geometry.seed, &[part(&bytes, 0, len)?]);
        }
        Ok(())
    }

    /// Takes an inode near `parent`'s; directories of the root are spread over the groups.
    fn allocate_inode(&mut self, parent: u32, directory: bool) -> Result<u32> {
        let (near, _) = self.geometry.group_of_inode(parent)?;
        let groups = self.geometry.groups;
        let mut start = near;
        if directory && parent == ROOT {
            let mut best = 0;
            // Of the first groups the emptiest, so that the cost does not grow with the disk.
            for number in 0..groups.min(64) {
                let group = self.group(number)?;
                if group.free_inodes > 0 && group.free_blocks > best {
                    (start, best) = (number, group.free_blocks);
                }
            }
        }
        for step in 0..groups {
            let number = (start + step) % groups;
            if self.group(number)?.free_inodes == 0 {
                continue;
            }
            let mut group = self.group_with_inodes(number)?;
            let bitmap = self.buffers.read(group.inode_bitmap)?;
            let reserved = if number == 0 { self.geometry.first_inode - 1 } else { 0 };
            let end = self.geometry.inodes_per_group;
            let free = first_free(&bitmap, reserved, end, |index| !bit(&bitmap, index));
            drop(bitmap);
            let Some(index) = free else { continue };
            flip(self.buffers.modify(group.inode_bitmap)?, index, 1, true)?;
            group.free_inodes -= 1;
            if directory {
                group.used_directories += 1;
            }
            group.unused_inodes = group.unused_inodes.min(self.geometry.inodes_per_group - index - 1);
            self.seal_inode_bitmap(&mut group)?;
            self.store_group(number, &group)?;
            self.add_free(0, -1)?;
            return Ok(number * self.geometry.inodes_per_group + index + 1);
        }
        Err(Error::NoSpace)
    }

    /// Gives an inode back.
    pub(crate) fn free_inode(&mut self, inode: u32, directory: bool) -> Result<()> {
        let (number, index) = self.geometry.group_of_inode(inode)?;
        let mut group = self.group_with_inodes(number)?;
        flip(self.buffers.modify(group.inode_bitmap)?, index, 1, false)?;
        group.free_inodes += 1;
        if directory {
            group.used_directories = group
                .used_directories
                .checked_sub(1)
                .ok_or(Error::Corrupt("a group's count of directories"))?;
        }
        self.seal_inode_bitmap(&mut group)?;
        self.store_group(number, &group)?;
        self.add_free(0, 1)
    }

    /// A new inode with one link and nothing in it; it is not stored yet.
    pub(crate) fn new_inode(
        &mut self,
        parent: u32,
        mode: u16,
        owner: (u32, u32),
        time: Time,
    ) -> Result<Inode> {
        let directory = mode & crate::inode::kind::MASK == crate::inode::kind::DIRECTORY;
        let number = self.allocate_inode(parent, directory)?;
        let size = usize::from(self.geometry.inode_size);
        let (block, at) = self.inode_place(number)?;
        // The next generation, so that a handle to what had this number before is not valid.
        let old = crate::layout::u32_at(part(&self.buffers.read(block)?, at, size)?, 0x64)?;
        let mut bytes = zeroed(size)?;
        if size > 128 {
            part_mut(&mut bytes, 128, 2)?.copy_from_slice(&self.geometry.extra_isize.to_le_bytes());
        }
        let mut whole = zeroed(160)?;
        for (to, from) in whole.iter_mut().zip(&bytes) {
            *to = *from;
        }
        let raw: &mut RawInode = view_mut(&mut whole, 0)?;
        raw.generation.set(old.wrapping_add(1));
        raw.mode.set(mode);
        let mut inode = Inode::fresh(&self.geometry, number, bytes, raw.clone());
        inode.set_owner(owner.0, owner.1);
        inode.set_links(1);
        inode.set_accessed(time);
        inode.set_modified(time);
        inode.set_changed(time);
        inode.set_created(time);
        Ok(inode)
    }
}
