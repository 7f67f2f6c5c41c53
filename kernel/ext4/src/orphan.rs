// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes that have no name any more, but somebody who has them open, or blocks that take several operations to give back: a list on the disk, from
//! the superblock on through the inodes. After a crash it says what is left to do.
//! Source: Linux `Documentation/filesystems/ext4/orphan.rst`.

use crate::{
    device::BlockDevice,
    error::{Error, Result},
    extents_edit::Tree,
    inode::{Inode, flags, kind},
    layout::{part_mut, u32_at},
    volume::Ext4,
};

/// Extents that one operation gives back at most: each may be in a group of its own.
pub(crate) const STEP: u32 = 16;

/// Orphans after a crash: the list is searched from its start.
const MOST_ORPHANS: usize = 1 << 14;

impl<D: BlockDevice> Ext4<D> {
    /// Puts an inode, which is for the caller to store, at the head of the list.
    pub(crate) fn add_orphan(&mut self, inode: &mut Inode) -> Result<()> {
        if self.orphans.contains(&inode.number()) {
            return Ok(());
        }
        self.orphans.try_reserve(1).map_err(|_| Error::NoMemory)?;
        inode.set_deleted(self.orphans.first().copied().unwrap_or(0));
        self.orphans.insert(0, inode.number());
        let number = inode.number();
        self.change_superblock(|raw| {
            raw.last_orphan.set(number);
            Ok(())
        })
    }

    /// Takes an inode, which is for the caller to store, out of the list.
    pub(crate) fn remove_orphan(&mut self, inode: &mut Inode) -> Result<()> {
        let Some(index) = self.orphans.iter().position(|orphan| *orphan == inode.number()) else {
            return Ok(());
        };
        let next = self.orphans.get(index + 1).copied().unwrap_or(0);
        match index.checked_sub(1).and_then(|before| self.orphans.get(before)).copied() {
            None => self.change_superblock(|raw| {
                raw.last_orphan.set(next);
                Ok(())
            })?,
            Some(before) => {
                let mut before = self.inode_even_unlinked(before)?;
                before.set_deleted(next);
                self.store(&mut before)?;
            }
        }
        self.orphans.remove(index);
        inode.set_deleted(0);
        Ok(())
    }

    /// After a mount: finishes what a crash left. What is wrong with the list ends it, and is for e2fsck.
    pub(crate) fn adopt_orphans(&mut self) -> Result<()> {
        let mut number = self.superblock()?.last_orphan.get();
        while number != 0 {
            if number < self.geometry.first_inode
                || number > self.geometry.inodes
                || self.orphans.contains(&number)
            {
                return Err(Error::Corrupt("the list of orphans"));
            }
            if self.orphans.len() >= MOST_ORPHANS {
                return Err(Error::Unsupported("more than 16384 orphans"));
            }
            self.orphans.try_reserve(1).map_err(|_| Error::NoMemory)?;
            self.orphans.push(number);
            number = self.inode_even_unlinked(number)?.deleted();
        }
        for number in self.orphans.clone() {
            let inode = self.inode_even_unlinked(number)?;
            if inode.links() == 0 {
                self.release(number)?;
            } else {
                self.finish_truncation(number, inode.size())?;
            }
        }
        Ok(())
    }

    /// Nobody has an inode open any more that has no name: it and its blocks are given back.
    pub fn release(&mut self, number: u32) -> Result<()> {
        let inode = self.inode_even_unlinked(number)?;
        if inode.links() != 0 || !self.orphans.contains(&number) {
            return Err(Error::Invalid);
        }
        if inode.has(flags::EXTENTS) {
            while !self.remove_step(number, 0)? {}
        } else if matches!(inode.kind(), kind::REGULAR | kind::DIRECTORY | kind::LINK)
            && !inode.has(flags::INLINE_DATA)
            && !inode.is_fast_link()
        {
            return Err(Error::Unsupported("giving back a file without extents"));
        }
        self.operation(|volume| {
            let mut inode = volume.inode_even_unlinked(number)?;
            volume.drop_attributes(&mut inode)?;
            volume.remove_orphan(&mut inode)?;
            volume.free_inode(number, inode.is_directory())?;
            inode.set_size(0);
            // What is less than the number of inodes would be a place in the list.
            let least = i64::from(volume.geometry.inodes) + 1;
            inode.set_deleted(volume.seconds.max(least).min(u32::MAX.into()) as u32);
            volume.store(&mut inode)
        })
    }

    /// Gives back some of an inode's blocks from `from` on: true if there are no more.
    fn remove_step(&mut self, number: u32, from: u64) -> Result<bool> {
        self.operation(|volume| {
            let mut inode = volume.inode_even_unlinked(number)?;
            let done = Tree { volume, inode: &mut inode }.remove(from, 1 << 32, true, STEP)?;
            volume.store(&mut inode)?;
            Ok(done)
        })
    }

    /// Gives back the blocks behind `size` of an inode that is in the list, and takes it out.
    pub(crate) fn finish_truncation(&mut self, number: u32, size: u64) -> Result<()> {
        let from = size.div_ceil(u64::from(self.geometry.block_size));
        if self.inode_even_unlinked(number)?.has(flags::EXTENTS) {
            while !self.remove_step(number, from)? {}
        }
        self.operation(|volume| {
            let mut inode = volume.inode_even_unlinked(number)?;
            // Without a name it stays there until it is released.
            if inode.links() > 0 {
                volume.remove_orphan(&mut inode)?;
            }
            volume.store(&mut inode)
        })
    }

    /// The block with an inode's attributes has one user less.
    fn drop_attributes(&mut self, inode: &mut Inode) -> Result<()> {
        let number = inode.attribute_block();
        if number == 0 {
            return Ok(());
        }
        let Some(bytes) = self.attribute_block(inode)? else { return Ok(()) };
        let users = u32_at(&bytes, 4)?;
        drop(bytes);
        if users <= 1 {
            self.free_metadata(number)?;
        } else {
            let bytes = self.buffers.modify(number)?;
            part_mut(bytes, 4, 4)?.copy_from_slice(&(users - 1).to_le_bytes());
            self.seal_attributes(number)?;
        }
        inode.clear_attribute_block();
        self.add_blocks(inode, -1)
    }
}
