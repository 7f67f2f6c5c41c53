// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content of files and targets of symbolic links, copied: for callers without a page cache, and for what is in inodes.

use alloc::vec::Vec;

use crate::{
    device::BlockDevice,
    error::{Error, Result},
    inode::{Inode, flags, kind},
    layout::{part, zeroed},
    run::Place,
    volume::Ext4,
};

impl<D: BlockDevice> Ext4<D> {
    /// Copies content from `offset` on, and says how much: less than there is room for at the end of the file alone.
    pub fn read(&mut self, inode: &Inode, offset: u64, to: &mut [u8]) -> Result<usize> {
        match inode.kind() {
            kind::DIRECTORY => return Err(Error::IsADirectory),
            kind::REGULAR | kind::LINK => {}
            _ => return Err(Error::Invalid),
        }
        let len = inode.size().saturating_sub(offset).min(to.len() as u64) as usize;
        let to = to.get_mut(..len).unwrap_or_default();
        if len == 0 {
            return Ok(0);
        }
        if inode.has(flags::INLINE_DATA) {
            let all = self.inline_content(inode)?;
            to.copy_from_slice(part(&all, offset as usize, len)?);
            return Ok(len);
        }
        if inode.is_fast_link() {
            to.copy_from_slice(part(inode.block_field(), offset as usize, len)?);
            return Ok(len);
        }
        self.read_blocks(inode, offset, to)?;
        Ok(len)
    }

    /// The same for what is in blocks, of any inode and behind its end.
    pub(crate) fn read_blocks(&mut self, inode: &Inode, mut offset: u64, mut to: &mut [u8]) -> Result<()> {
        let block_size = self.geometry.block_bytes();
        let mut bounce = Vec::new();
        while !to.is_empty() {
            let first = u32::try_from(offset / block_size as u64).map_err(|_| Error::TooLarge)?;
            let within = (offset % block_size as u64) as usize;
            let wanted = (within + to.len()).div_ceil(block_size);
            let run = self.map(inode, first, u32::try_from(wanted).unwrap_or(u32::MAX))?;
            for index in 0..u64::from(run.count) {
                let within = (offset % block_size as u64) as usize;
                let len = to.len().min(block_size - within);
                if len == 0 {
                    break;
                }
                let (now, rest) = to.split_at_mut(len);
                match run.place {
                    Place::Written(block) if len == block_size => {
                        self.buffers.read_data(block + index, now)?
                    }
                    Place::Written(block) => {
                        if bounce.is_empty() {
                            bounce = zeroed(block_size)?;
                        }
                        self.buffers.read_data(block + index, &mut bounce)?;
                        now.copy_from_slice(part(&bounce, within, len)?);
                    }
                    Place::Hole | Place::Unwritten(_) => now.fill(0),
                }
                to = rest;
                offset += len as u64;
            }
        }
        Ok(())
    }

    /// The target of a symbolic link: at most a block.
    pub fn read_link(&mut self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.kind() != kind::LINK {
            return Err(Error::Invalid);
        }
        let mut target = zeroed(inode.size() as usize)?;
        self.read(inode, 0, &mut target)?;
        if target.is_empty() || target.contains(&0) {
            return Err(Error::Corrupt("the target of a symbolic link"));
        }
        Ok(target)
    }
}
