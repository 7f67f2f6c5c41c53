// SPDX-License-Identifier: MIT OR Apache-2.0
//! The blocks of metadata in memory, one copy of each. What an operation changes is kept apart until it has succeeded, so one that fails
//! changes nothing; what the running transaction changed is kept apart until it is in the journal, and then until it is in its own place.
//!
//! A block is a counted vector that is copied when it is changed while somebody else has it. So the journal writes what a transaction
//! had, although the next one may have changed it.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};

use crate::{
    device::BlockDevice,
    error::{Error, Result},
    layout::{JOURNAL_MAGIC, copied, zeroed},
};

/// A block's bytes.
pub(crate) type Block = Arc<Vec<u8>>;

/// What a block was checked as. It is checked again if somebody takes it for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Not at all.
    Not,
    /// As that of this group.
    BlockBitmap(u32),
    /// As that of this group.
    InodeBitmap(u32),
    /// As a node of this inode's extents, with its depth.
    Extents(u32, u16),
    /// As part of this inode's directory.
    Directory(u32),
    /// As attributes.
    Attributes,
}

#[derive(Clone)]
struct Slot {
    block: Block,
    checked: Checked,
    /// Asked for since it was last considered for going.
    used: bool,
}

/// A block that recovery found in the journal and that cannot be put in its place, since the device is read-only.
#[derive(Clone, Copy)]
pub(crate) struct Redirect {
    /// Where it is in the journal.
    pub block: u64,
    /// Its first four bytes were those of the journal's own blocks, and stand there as zeros.
    pub escaped: bool,
}

/// The blocks of metadata.
pub(crate) struct Buffers<D> {
    pub(crate) device: D,
    block_size: usize,
    blocks: u64,
    clean: BTreeMap<u64, Slot>,
    /// The clean ones from the oldest.
    order: VecDeque<u64>,
    limit: usize,
    redirects: BTreeMap<u64, Redirect>,
    /// Changed by the operation that runs.
    operation: BTreeMap<u64, Slot>,
    /// Changed by the transaction that runs.
    running: BTreeMap<u64, Slot>,
    /// In the journal, and not in their places yet.
    committed: BTreeMap<u64, Slot>,
}

impl<D: BlockDevice> Buffers<D> {
    /// None in memory; at most `limit` clean ones will be.
    pub(crate) fn new(device: D, block_size: usize, blocks: u64, limit: usize) -> Self {
        Self {
            device,
            block_size,
            blocks,
            clean: BTreeMap::new(),
            order: VecDeque::new(),
            limit: limit.max(16),
            redirects: BTreeMap::new(),
            operation: BTreeMap::new(),
            running: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    fn place(&self, block: u64) -> Result<u64> {
        if block >= self.blocks {
            return Err(Error::Corrupt("a block behind the end"));
        }
        Ok(block * self.block_size as u64)
    }

    fn slot(&mut self, block: u64) -> Result<&mut Slot> {
        // Looked up twice, since a borrow that is returned lasts until the end of the function in each branch.
        if self.operation.contains_key(&block) {
            return self.operation.get_mut(&block).ok_or(Error::Device);
        }
        if self.running.contains_key(&block) {
            return self.running.get_mut(&block).ok_or(Error::Device);
        }
        if self.committed.contains_key(&block) {
            return self.committed.get_mut(&block).ok_or(Error::Device);
        }
        if !self.clean.contains_key(&block) {
            let mut bytes = zeroed(self.block_size)?;
            self.read_raw(block, &mut bytes)?;
            self.make_room();
            self.order.push_back(block);
            self.clean.insert(block, Slot { block: Arc::new(bytes), checked: Checked::Not, used: false });
        }
        let slot = self.clean.get_mut(&block).ok_or(Error::Device)?;
        slot.used = true;
        Ok(slot)
    }

    /// What the device has of a block, or the journal in its stead.
    fn read_raw(&mut self, block: u64, to: &mut [u8]) -> Result<()> {
        match self.redirects.get(&block).copied() {
            None => {
                let place = self.place(block)?;
                self.device.read(place, to)
            }
            Some(Redirect { block, escaped }) => {
                let place = self.place(block)?;
                self.device.read(place, to)?;
                if let (true, Some(start)) = (escaped, to.get_mut(..4)) {
                    start.copy_from_slice(&JOURNAL_MAGIC.to_be_bytes());
                }
                Ok(())
            }
        }
    }

    /// Lets clean blocks go that nobody asked for lately, until one more may come.
    fn make_room(&mut self) {
        while self.clean.len() >= self.limit {
            let Some(block) = self.order.pop_front() else { break };
            match self.clean.get_mut(&block) {
                Some(slot) if slot.used => {
                    slot.used = false;
                    self.order.push_back(block);
                }
                _ => {
                    self.clean.remove(&block);
                }
            }
        }
    }

    /// A block that needs no check.
    pub(crate) fn read(&mut self, block: u64) -> Result<Block> {
        self.slot(block).map(|slot| slot.block.clone())
    }

    /// A block that `check` accepts as what `kind` says. It is asked once as long as the block stays in memory.
    pub(crate) fn read_checked(
        &mut self,
        block: u64,
        kind: Checked,
        check: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<Block> {
        let slot = self.slot(block)?;
        if slot.checked != kind {
            check(&slot.block)?;
            slot.checked = kind;
        }
        Ok(slot.block.clone())
    }

    /// A block to be changed by the operation that runs.
    pub(crate) fn modify(&mut self, block: u64) -> Result<&mut Vec<u8>> {
        if !self.operation.contains_key(&block) {
            let slot = self.slot(block)?;
            let own = Slot { block: Arc::new(copied(&slot.block)?), checked: slot.checked, used: false };
            self.operation.insert(block, own);
        }
        let slot = self.operation.get_mut(&block).ok_or(Error::Device)?;
        Ok(Arc::make_mut(&mut slot.block))
    }

    /// A block of zeros, whatever was there, to be filled by the operation that runs as what `kind` says.
    pub(crate) fn create(&mut self, block: u64, kind: Checked) -> Result<&mut Vec<u8>> {
        self.place(block)?;
        let bytes = zeroed(self.block_size)?;
        self.operation.insert(block, Slot { block: Arc::new(bytes), checked: kind, used: false });
        let slot = self.operation.get_mut(&block).ok_or(Error::Device)?;
        Ok(Arc::make_mut(&mut slot.block))
    }

    /// File data, past the blocks in memory but for those that are changed: file blocks are not metadata, but a crafted image may say so.
    pub(crate) fn read_data(&mut self, block: u64, to: &mut [u8]) -> Result<()> {
        self.read_raw(block, to)
    }

    /// Where recovery found newer blocks.
    pub(crate) fn set_redirects(&mut self, redirects: BTreeMap<u64, Redirect>) {
        self.redirects = redirects;
        self.forget_clean();
    }

    /// Forgets what was read, since the device has changed.
    pub(crate) fn forget_clean(&mut self) {
        self.clean.clear();
        self.order.clear();
    }

    /// Blocks that the clean part of the cache has now.
    pub(crate) fn cached(&self) -> usize {
        self.clean.len()
    }
}
