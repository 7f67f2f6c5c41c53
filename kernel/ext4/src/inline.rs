// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content in inodes: the first 60 bytes where block numbers would be, the rest in the attribute `system.data`.
//! Source: Linux `Documentation/filesystems/ext4/inlinedata.rst`.

use alloc::vec::Vec;

use crate::{
    attributes::{self, SYSTEM},
    device::BlockDevice,
    error::{Error, Result},
    inode::Inode,
    layout::{copied, part},
    volume::Ext4,
};

/// Bytes of a directory that say only which is above it.
pub(crate) const PARENT: usize = 4;
/// Bytes before those in the attribute.
pub(crate) const IN_BLOCK_FIELD: usize = 60;

impl<D: BlockDevice> Ext4<D> {
    /// The content of an inode with inline data: as many bytes as its size says.
    pub(crate) fn inline_content(&mut self, inode: &Inode) -> Result<Vec<u8>> {
        let mut all = copied(inode.block_field())?;
        if let Some(value) = attributes::find_in_inode(inode, SYSTEM, b"data")? {
            all.try_reserve_exact(value.len()).map_err(|_| Error::NoMemory)?;
            all.extend_from_slice(value);
        }
        let len = usize::try_from(inode.size()).map_err(|_| Error::Corrupt("the size of inline data"))?;
        part(&all, 0, len).map_err(|_| Error::Corrupt("the size of inline data"))?;
        all.truncate(len);
        Ok(all)
    }
}
