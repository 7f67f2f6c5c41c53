// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the journal is on the disk.

use alloc::vec::Vec;

use crate::{
    device::BlockDevice,
    error::{Error, Result},
    inode::kind,
    run::Place,
    volume::Ext4,
};

/// Parts of a journal; it has few, unless somebody wants memory to be used up.
const MOST_PARTS: usize = 4096;

/// The blocks of the journal's file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    /// For each part, its first block in the file and on the disk, in order.
    parts: Vec<(u32, u64)>,
    /// How many blocks there are.
    pub len: u32,
}

impl Blocks {
    /// Those of the journal in inode `number`.
    pub(crate) fn load<D: BlockDevice>(volume: &mut Ext4<D>, number: u32) -> Result<Self> {
        let inode = volume.inode(number)?;
        let len = inode.size() / u64::from(volume.geometry.block_size);
        let len = u32::try_from(len).map_err(|_| Error::Corrupt("the size of the journal"))?;
        if inode.kind() != kind::REGULAR || u64::from(len) > volume.geometry.blocks {
            return Err(Error::Corrupt("the size of the journal"));
        }
        let mut parts = Vec::new();
        let mut first = 0;
        while first < len {
            let run = volume.map(&inode, first, len - first)?;
            let Place::Written(start) = run.place else {
                return Err(Error::Corrupt("a hole in the journal"));
            };
            if parts.len() >= MOST_PARTS {
                return Err(Error::Unsupported("a journal in more than 4096 parts"));
            }
            parts.try_reserve(1).map_err(|_| Error::NoMemory)?;
            parts.push((first, start));
            first += run.count;
        }
        Ok(Self { parts, len })
    }

    /// The place of a block of the journal.
    pub(crate) fn place(&self, block: u32) -> Result<u64> {
        let index = self.parts.partition_point(|(first, _)| *first <= block);
        match index.checked_sub(1).and_then(|index| self.parts.get(index)) {
            Some((first, start)) if block < self.len => Ok(start + u64::from(block - first)),
            _ => Err(Error::Corrupt("a block behind the end of the journal")),
        }
    }
}
