// SPDX-License-Identifier: MIT OR Apache-2.0
//! From places in a file to blocks of the disk: [`Ext4::map`]. A caller with a page cache reads and writes those itself.

use crate::{
    blockmap,
    device::BlockDevice,
    error::{Error, Result},
    extents,
    inode::{Inode, flags, kind},
    run::{Place, Run},
    volume::Ext4,
};

impl<D: BlockDevice> Ext4<D> {
    /// Where the blocks from `first` on are: as many of at most `count` as are together, at least one.
    pub fn map(&mut self, inode: &Inode, first: u32, count: u32) -> Result<Run> {
        if count == 0 {
            return Err(Error::Invalid);
        }
        if !matches!(inode.kind(), kind::REGULAR | kind::DIRECTORY | kind::LINK)
            && inode.number() >= self.geometry.first_inode
            || inode.has(flags::INLINE_DATA)
            || inode.is_fast_link()
        {
            return Err(Error::Invalid);
        }
        let count = count.min(u32::MAX - first).max(1);
        let run = if inode.has(flags::EXTENTS) {
            extents::map(self, inode, first, count)?
        } else {
            blockmap::map(self, inode, first, count)?
        };
        if let Place::Unwritten(block) | Place::Written(block) = run.place {
            if !self.geometry.is_data(block, u64::from(run.count)) {
                return Err(Error::Corrupt("a file's block behind the end"));
            }
        }
        Ok(run)
    }
}
