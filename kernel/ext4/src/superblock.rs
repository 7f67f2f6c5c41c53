// SPDX-License-Identifier: MIT OR Apache-2.0
//! The superblock as it is changed: counts, the list of orphans, the flag that says that the journal is in use.

use crate::{
    checksum::{START, crc32c},
    device::BlockDevice,
    error::{Error, Result},
    features::incompat,
    geometry::Geometry,
    layout::{RawSuperblock, part, part_mut, view, view_mut},
    volume::Ext4,
};

/// Changes the superblock in the block that it is in, and its checksum.
fn change(
    geometry: &Geometry,
    block: &mut [u8],
    change: impl FnOnce(&mut RawSuperblock) -> Result<()>,
) -> Result<()> {
    let at = geometry.superblock_place().1;
    let bytes = part_mut(block, at, 1024)?;
    change(view_mut(bytes, 0)?)?;
    if geometry.metadata_csum() {
        let sum = crc32c(START, &[part(bytes, 0, 0x3fc)?]);
        view_mut::<RawSuperblock>(bytes, 0)?.checksum.set(sum);
    }
    Ok(())
}

impl<D: BlockDevice> Ext4<D> {
    /// Changes the superblock, as part of the operation that runs.
    pub(crate) fn change_superblock(
        &mut self,
        how: impl FnOnce(&mut RawSuperblock) -> Result<()>,
    ) -> Result<()> {
        let (block, _) = self.geometry.superblock_place();
        change(&self.geometry, self.buffers.modify(block)?, how)
    }

    /// Changes it in its place: before the first transaction and after the last.
    pub(crate) fn write_superblock(
        &mut self,
        how: impl FnOnce(&mut RawSuperblock) -> Result<()>,
    ) -> Result<()> {
        let (block, _) = self.geometry.superblock_place();
        let mut bytes = crate::layout::copied(&self.buffers.read(block)?)?;
        change(&self.geometry, &mut bytes, how)?;
        self.buffers.write_device(block, &bytes)?;
        self.buffers.forget_clean();
        self.buffers.device.flush()
    }

    /// A look at the superblock as it is now.
    pub(crate) fn superblock(&mut self) -> Result<RawSuperblock> {
        let (block, at) = self.geometry.superblock_place();
        let bytes = self.buffers.read(block)?;
        view::<RawSuperblock>(&bytes, at).cloned()
    }

    /// Says on the disk that the journal may hold more than is in its places, or that it does not.
    pub(crate) fn set_needs_recovery(&mut self, needs: bool) -> Result<()> {
        self.write_superblock(|raw| {
            let others = raw.feature_incompat.get() & !incompat::RECOVER;
            raw.feature_incompat.set(others | if needs { incompat::RECOVER } else { 0 });
            Ok(())
        })
    }

    /// Adds to the counts of free blocks and inodes.
    pub(crate) fn add_free(&mut self, blocks: i64, inodes: i32) -> Result<()> {
        let wide = self.geometry.incompat & incompat::SIXTY_FOUR != 0;
        self.change_superblock(|raw| {
            let high = if wide { u64::from(raw.free_blocks_count_hi.get()) << 32 } else { 0 };
            let free = high | u64::from(raw.free_blocks_count_lo.get());
            // A wrong count is for e2fsck to mend; those of the groups decide.
            let free = free.saturating_add_signed(blocks);
            raw.free_blocks_count_lo.set(free as u32);
            if wide {
                raw.free_blocks_count_hi.set((free >> 32) as u32);
            }
            raw.free_inodes_count.set(raw.free_inodes_count.get().saturating_add_signed(inodes));
            Ok(())
        })
    }

    /// Blocks in all, free ones, those of these that are reserved for root; inodes in all, and free ones.
    pub fn usage(&mut self) -> Result<Usage> {
        let raw = self.superblock()?;
        let wide = self.geometry.incompat & incompat::SIXTY_FOUR != 0;
        let join = |high: u32, low: u32| if wide { u64::from(high) << 32 } else { 0 } | u64::from(low);
        Ok(Usage {
            blocks: self.geometry.blocks,
            free_blocks: join(raw.free_blocks_count_hi.get(), raw.free_blocks_count_lo.get()),
            reserved_blocks: join(raw.r_blocks_count_hi.get(), raw.r_blocks_count_lo.get()),
            inodes: self.geometry.inodes,
            free_inodes: raw.free_inodes_count.get(),
        })
    }

    /// Fails unless the file system is written to.
    pub(crate) fn must_be_writable(&self) -> Result<()> {
        if self.read_only.is_some() || self.log.is_none() { Err(Error::ReadOnly) } else { Ok(()) }
    }
}

/// What is used and what is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Blocks.
    pub blocks: u64,
    /// Those that are free.
    pub free_blocks: u64,
    /// Those that are kept for root.
    pub reserved_blocks: u64,
    /// Inodes.
    pub inodes: u32,
    /// Those that are free.
    pub free_inodes: u32,
}
