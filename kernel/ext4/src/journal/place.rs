// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the journal is on the disk.

use alloc::vec::Vec;

use crate::error::{Error, Result};

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
    /// Adds a part that starts with block `first` of the file, which has `len` blocks, at block `start` of the disk.
    pub(crate) fn add(&mut self, first: u32, start: u64, len: u32) -> Result<()> {
        if self.parts.len() >= MOST_PARTS {
            return Err(Error::Unsupported("a journal in more than 4096 parts"));
        }
        self.parts.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.parts.push((first, start));
        self.len = len;
        Ok(())
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
