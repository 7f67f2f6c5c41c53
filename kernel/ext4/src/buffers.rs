// SPDX-License-Identifier: MIT OR Apache-2.0
//! The blocks of metadata in memory, one copy of each. What an operation changes is kept apart until it has succeeded, so one that fails
//! changes nothing; what the running transaction changed is kept apart until it is in the journal, and then until it is in its own place.
//!
//! A block is a counted vector that is copied when it is changed while somebody else has it. So the journal writes what a transaction
//! had, although the next one may have changed it.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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

/// Blocks with their places, and blocks that were revoked.
pub(crate) type Changes = (Vec<(u64, Block)>, Vec<u64>);

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
    /// Of a changed bitmap of blocks, what it was before the transaction: what that frees may be used again only when it is in the
    /// journal, or a crash would bring back a file whose blocks have somebody else's data.
    before: Option<Block>,
}

impl Slot {
    fn new(block: Block, checked: Checked) -> Self {
        Self { block, checked, used: false, before: None }
    }
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
    /// Freed by the operation that runs.
    forgotten: BTreeSet<u64>,
    /// In the journal, and freed by the transaction that runs: they must not come back.
    revoked: BTreeSet<u64>,
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
            forgotten: BTreeSet::new(),
            revoked: BTreeSet::new(),
        }
    }

    fn place(&self, block: u64) -> Result<u64> {
        if block >= self.blocks {
            return Err(Error::Corrupt("a block behind the end"));
        }
        Ok(block * self.block_size as u64)
    }

    /// Fails if there is no such block.
    pub(crate) fn check_place(&self, block: u64) -> Result<()> {
        self.place(block).map(|_| ())
    }

    /// Bytes of a block.
    pub(crate) fn block_size(&self) -> usize {
        self.block_size
    }

    /// Reads past all that is in memory.
    pub(crate) fn read_device(&mut self, block: u64, to: &mut [u8]) -> Result<()> {
        let place = self.place(block)?;
        self.device.read(place, to)
    }

    /// Writes past all that is in memory.
    pub(crate) fn write_device(&mut self, block: u64, from: &[u8]) -> Result<()> {
        let place = self.place(block)?;
        self.device.write(place, from)
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
        let is_here = self.clean.contains_key(&block);
        if !is_here {
            let mut bytes = zeroed(self.block_size)?;
            self.read_raw(block, &mut bytes)?;
            self.make_room();
            self.order.push_back(block);
            self.clean.insert(block, Slot::new(Arc::new(bytes), Checked::Not));
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
            let Some(block) = self.order.pop_front() else {
                self.clean.clear();
                break;
            };
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
        let is_own = self.operation.contains_key(&block);
        if !is_own {
            let is_running = self.running.contains_key(&block);
            let slot = self.slot(block)?;
            let mut own = Slot::new(Arc::new(copied(&slot.block)?), slot.checked);
            own.before = match slot.checked {
                _ if is_running => slot.before.clone(),
                Checked::BlockBitmap(_) => Some(slot.block.clone()),
                _ => None,
            };
            self.operation.insert(block, own);
        }
        let slot = self.operation.get_mut(&block).ok_or(Error::Device)?;
        Ok(Arc::make_mut(&mut slot.block))
    }

    /// A block of zeros, whatever was there, to be filled by the operation that runs as what `kind` says.
    pub(crate) fn create(&mut self, block: u64, kind: Checked) -> Result<&mut Vec<u8>> {
        self.place(block)?;
        let bytes = zeroed(self.block_size)?;
        self.operation.insert(block, Slot::new(Arc::new(bytes), kind));
        let slot = self.operation.get_mut(&block).ok_or(Error::Device)?;
        Ok(Arc::make_mut(&mut slot.block))
    }

    /// File data, which does not stay in memory here; what is in memory all the same (a crafted image may say that a block is both) is newer.
    pub(crate) fn read_data(&mut self, block: u64, to: &mut [u8]) -> Result<()> {
        let changed = [&self.operation, &self.running, &self.committed];
        if let Some(slot) = changed.into_iter().find_map(|blocks| blocks.get(&block)) {
            if slot.block.len() == to.len() {
                to.copy_from_slice(&slot.block);
                return Ok(());
            }
        }
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

    /// What a changed bitmap of blocks was before the transaction that runs, if it had been used then.
    pub(crate) fn before(&self, block: u64) -> Option<Block> {
        let changed = self.operation.get(&block).or_else(|| self.running.get(&block));
        changed.and_then(|slot| slot.before.clone())
    }

    /// A block of metadata is freed by the operation that runs.
    pub(crate) fn forget(&mut self, block: u64) {
        self.operation.remove(&block);
        self.forgotten.insert(block);
    }

    /// The operation has failed: nothing of it was done.
    pub(crate) fn abandon_operation(&mut self) {
        self.operation.clear();
        self.forgotten.clear();
    }

    /// The operation has succeeded: it belongs to the transaction.
    pub(crate) fn finish_operation(&mut self) {
        for block in core::mem::take(&mut self.forgotten) {
            self.running.remove(&block);
            if self.clean.remove(&block).is_some() {
                self.order.retain(|other| *other != block);
            }
            if self.committed.contains_key(&block) {
                self.revoked.insert(block);
            }
        }
        for (block, slot) in core::mem::take(&mut self.operation) {
            self.running.insert(block, slot);
        }
    }

    /// Blocks and revoked blocks of the transaction, the operation that runs among them.
    pub(crate) fn transaction_len(&self) -> (usize, usize) {
        let new = self.operation.keys().filter(|block| !self.running.contains_key(block)).count();
        (self.running.len() + new, self.revoked.len() + self.forgotten.len())
    }

    /// Blocks and revoked blocks that the operation that runs has alone.
    pub(crate) fn operation_len(&self) -> (usize, usize) {
        (self.operation.len(), self.forgotten.len())
    }

    /// What the transaction changed, and what it revoked.
    pub(crate) fn running(&self) -> Result<Changes> {
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(self.running.len()).map_err(|_| Error::NoMemory)?;
        blocks.extend(self.running.iter().map(|(block, slot)| (*block, slot.block.clone())));
        let mut revoked = Vec::new();
        revoked.try_reserve_exact(self.revoked.len()).map_err(|_| Error::NoMemory)?;
        revoked.extend(self.revoked.iter().copied());
        Ok((blocks, revoked))
    }

    /// The transaction is in the journal.
    pub(crate) fn committed(&mut self) {
        for block in core::mem::take(&mut self.revoked) {
            self.committed.remove(&block);
        }
        for (block, mut slot) in core::mem::take(&mut self.running) {
            slot.before = None;
            // The operation that made the transaction end belongs to the next.
            if let (Some(next), Checked::BlockBitmap(_)) = (self.operation.get_mut(&block), slot.checked) {
                next.before = Some(slot.block.clone());
            }
            self.committed.insert(block, slot);
        }
    }

    /// Writes what is in the journal to its places, and waits until it is there.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        for (block, slot) in &self.committed {
            let place = block * self.block_size as u64;
            self.device.write(place, &slot.block)?;
        }
        self.device.flush()?;
        for (block, slot) in core::mem::take(&mut self.committed) {
            let is_here = self.clean.contains_key(&block);
            if !is_here {
                self.make_room();
                self.order.push_back(block);
            }
            self.clean.insert(block, slot);
        }
        Ok(())
    }
}
