// SPDX-License-Identifier: MIT OR Apache-2.0
//! The superblock, checked: what follows from it for where things are. Everything else may rely on these numbers.

use crate::{
    checksum::{self, START, crc32c},
    device::BlockDevice,
    error::{Error, Result},
    features::{self, compat, incompat, ro_compat},
    layout::{RawSuperblock, part, view, zeroed},
};

/// Where the superblock is, in bytes.
pub(crate) const SUPERBLOCK: u64 = 1024;
const MAGIC: u16 = 0xef53;
/// The root directory's inode.
pub const ROOT: u32 = 2;
/// The largest block, one page, as on Linux.
const LARGEST_BLOCK: u32 = 4096;
/// More than this no disk has in this decade; sums of block numbers stay far from the end of u64.
const MOST_BLOCKS: u64 = 1 << 48;

/// What is fixed for an image.
#[derive(Clone, Debug)]
pub struct Geometry {
    /// Bytes in a block: 1024, 2048 or 4096.
    pub block_size: u32,
    /// Blocks of the file system.
    pub blocks: u64,
    /// The block of group 0: 1 where blocks have 1024 bytes.
    pub first_data_block: u32,
    /// Blocks in each group but the last.
    pub blocks_per_group: u32,
    /// Groups.
    pub groups: u32,
    /// Inodes in each group.
    pub inodes_per_group: u32,
    /// Inodes, numbered from 1.
    pub inodes: u32,
    /// Bytes of an inode.
    pub inode_size: u16,
    /// The first inode that is not reserved.
    pub first_inode: u32,
    /// Bytes of a group's descriptor.
    pub descriptor_size: u16,
    /// Feature bits: may be ignored.
    pub compat: u32,
    /// Feature bits: must be known.
    pub incompat: u32,
    /// Feature bits: must be known to write.
    pub ro_compat: u32,
    /// The journal's inode, 0 if there is none.
    pub journal: u32,
    /// The key of hashed directories.
    pub hash_seed: [u32; 4],
    /// Which hash new ones get (0 legacy, 1 half MD4, 2 TEA).
    pub hash_version: u8,
    /// Whether their hashes take characters as unsigned.
    pub unsigned_hash: bool,
    /// Bytes behind the first 128 that a new inode uses.
    pub extra_isize: u16,
    /// What metadata checksums start with.
    pub(crate) seed: u32,
    pub(crate) uuid: [u8; 16],
    pub(crate) first_meta_bg: u32,
    /// Whether checksums of metadata are compared when something is read.
    pub(crate) verify: bool,
}

impl Geometry {
    /// Reads and checks the superblock. With `verify`, checksums count.
    pub(crate) fn read(device: &mut impl BlockDevice, verify: bool) -> Result<Self> {
        let mut bytes = zeroed(1024)?;
        if device.size() < 2 * SUPERBLOCK {
            return Err(Error::Corrupt("a device without room for a superblock"));
        }
        device.read(SUPERBLOCK, &mut bytes)?;
        Self::parse(&bytes, device.size(), verify)
    }

    pub(crate) fn parse(bytes: &[u8], device_size: u64, verify: bool) -> Result<Self> {
        let raw: &RawSuperblock = view(bytes, 0)?;
        if raw.magic.get() != MAGIC {
            return Err(Error::Corrupt("no ext4 superblock"));
        }
        // Revision 0 has neither features nor inodes of another size.
        if raw.rev_level.get() != 1 {
            return Err(Error::Unsupported("a superblock of another revision than 1"));
        }
        let (compat, incompat) = (raw.feature_compat.get(), raw.feature_incompat.get());
        let ro_compat = raw.feature_ro_compat.get();
        if let Some(name) = features::unknown_incompat(incompat) {
            return Err(Error::Unsupported(name));
        }
        let metadata_csum = ro_compat & ro_compat::METADATA_CSUM != 0;
        if metadata_csum {
            if raw.checksum_type != 1 {
                return Err(Error::Unsupported("a type of checksum other than crc32c"));
            }
            if verify && crc32c(START, &[part(bytes, 0, 0x3fc)?]) != raw.checksum.get() {
                return Err(Error::Corrupt("the superblock's checksum"));
            }
        }
        let seed = if incompat & incompat::CSUM_SEED != 0 {
            raw.checksum_seed.get()
        } else {
            crc32c(START, &[&raw.uuid])
        };

        let block_size = match raw.log_block_size.get() {
            log @ 0..=2 => 1024 << log,
            3..=6 => return Err(Error::Unsupported("blocks of more than 4096 bytes")),
            _ => return Err(Error::Corrupt("the size of blocks")),
        };
        debug_assert!(block_size <= LARGEST_BLOCK);
        let wide = incompat & incompat::SIXTY_FOUR != 0;
        let high = |bits: u32| if wide { u64::from(bits) << 32 } else { 0 };
        let blocks = high(raw.blocks_count_hi.get()) | u64::from(raw.blocks_count_lo.get());
        if blocks > MOST_BLOCKS || blocks.saturating_mul(u64::from(block_size)) > device_size {
            return Err(Error::Corrupt("more blocks than the device has"));
        }
        let first_data_block = raw.first_data_block.get();
        // With clusters of several blocks it is 0 all the same.
        let clusters = ro_compat & ro_compat::BIGALLOC != 0 && first_data_block == 0;
        if first_data_block != u32::from(block_size == 1024) && !clusters
            || u64::from(first_data_block) >= blocks
        {
            return Err(Error::Corrupt("the number of the first block"));
        }
        let blocks_per_group = raw.blocks_per_group.get();
        let inodes_per_group = raw.inodes_per_group.get();
        let bits = block_size * 8;
        if ro_compat & ro_compat::BIGALLOC == 0 && (blocks_per_group == 0 || blocks_per_group > bits)
            || !(64..=bits * 128).contains(&blocks_per_group)
            || blocks_per_group % 8 != 0
        {
            return Err(Error::Corrupt("the number of blocks in a group"));
        }
        let inode_size = raw.inode_size.get();
        if inode_size < 128 || u32::from(inode_size) > block_size || !inode_size.is_power_of_two() {
            return Err(Error::Corrupt("the size of inodes"));
        }
        let inodes_per_block = block_size / u32::from(inode_size);
        if inodes_per_group > bits || inodes_per_group < inodes_per_block || inodes_per_group % 8 != 0 {
            return Err(Error::Corrupt("the number of inodes in a group"));
        }
        let groups = (blocks - u64::from(first_data_block)).div_ceil(u64::from(blocks_per_group));
        let inodes = groups.checked_mul(u64::from(inodes_per_group)).and_then(|all| u32::try_from(all).ok());
        let (Ok(groups), Some(inodes)) = (u32::try_from(groups), inodes) else {
            return Err(Error::Corrupt("the number of groups"));
        };
        if inodes != raw.inodes_count.get() {
            return Err(Error::Corrupt("the number of inodes"));
        }
        let first_inode = raw.first_ino.get();
        if first_inode <= 10 || first_inode > inodes {
            return Err(Error::Corrupt("the number of the first inode"));
        }
        let descriptor_size = if wide { raw.desc_size.get() } else { 32 };
        if wide && !(64..=1024).contains(&descriptor_size) || !descriptor_size.is_power_of_two() {
            return Err(Error::Corrupt("the size of group descriptors"));
        }
        let journal = if compat & compat::HAS_JOURNAL == 0 { 0 } else { raw.journal_inum.get() };
        if compat & compat::HAS_JOURNAL != 0 && (journal == 0 || journal > inodes) {
            return Err(Error::Unsupported("a journal on another device"));
        }
        if ro_compat & ro_compat::GDT_CSUM != 0 && metadata_csum {
            return Err(Error::Corrupt("two kinds of checksums"));
        }
        let extra = raw.want_extra_isize.get().max(raw.min_extra_isize.get());
        let extra_isize = match inode_size {
            128 => 0,
            size if (32..=size - 128).contains(&extra) && extra % 4 == 0 => extra,
            _ => 32,
        };
        Ok(Self {
            block_size,
            blocks,
            first_data_block,
            blocks_per_group,
            groups,
            inodes_per_group,
            inodes,
            inode_size,
            first_inode,
            descriptor_size,
            compat,
            incompat,
            ro_compat,
            journal,
            hash_seed: raw.hash_seed.map(|word| word.get()),
            hash_version: raw.def_hash_version,
            unsigned_hash: raw.flags.get() & 2 != 0,
            extra_isize,
            seed,
            uuid: raw.uuid,
            first_meta_bg: raw.first_meta_bg.get(),
            verify,
        })
    }

    /// Whether metadata has checksums (those of group descriptors may be there without).
    pub(crate) fn metadata_csum(&self) -> bool {
        self.ro_compat & ro_compat::METADATA_CSUM != 0
    }

    /// Whether checksums of metadata are to be compared.
    pub(crate) fn checks(&self) -> bool {
        self.verify && self.metadata_csum()
    }

    /// Whether groups may be marked as not yet initialised.
    pub(crate) fn has_group_checksums(&self) -> bool {
        self.ro_compat & (ro_compat::METADATA_CSUM | ro_compat::GDT_CSUM) != 0
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(&self) -> usize {
        self.block_size as usize
    }

    /// The block that the superblock is in, and where in it.
    pub(crate) fn superblock_place(&self) -> (u64, usize) {
        if self.block_size == 1024 { (1, 0) } else { (0, 1024) }
    }

    /// Whether `block` may hold something that a file points to: neither the superblock nor behind the end.
    pub(crate) fn is_data(&self, first: u64, count: u64) -> bool {
        first > u64::from(self.first_data_block) && count <= self.blocks && first <= self.blocks - count
    }

    /// The first block of a group, and how many it has.
    pub(crate) fn group_blocks(&self, group: u32) -> (u64, u32) {
        let first = u64::from(self.first_data_block) + u64::from(group) * u64::from(self.blocks_per_group);
        let count = (self.blocks - first).min(u64::from(self.blocks_per_group));
        (first, count as u32)
    }

    /// The group of a block, and its bit there.
    pub(crate) fn group_of_block(&self, block: u64) -> (u32, u32) {
        let index = block - u64::from(self.first_data_block);
        let per_group = u64::from(self.blocks_per_group);
        ((index / per_group) as u32, (index % per_group) as u32)
    }

    /// The group of an inode, and its index there. Inode 0 is none.
    pub(crate) fn group_of_inode(&self, inode: u32) -> Result<(u32, u32)> {
        if inode == 0 || inode > self.inodes {
            return Err(Error::Corrupt("the number of an inode"));
        }
        Ok(((inode - 1) / self.inodes_per_group, (inode - 1) % self.inodes_per_group))
    }

    /// Whether a group starts with a copy of the superblock.
    pub(crate) fn has_superblock(&self, group: u32) -> bool {
        if group <= 1 || self.ro_compat & ro_compat::SPARSE_SUPER == 0 {
            return true;
        }
        let is_power = |of: u32| {
            let mut power = of;
            while power < group {
                power = power.saturating_mul(of);
            }
            power == group
        };
        group % 2 == 1 && (is_power(3) || is_power(5) || is_power(7))
    }

    /// The block with a group's descriptor, and where in it. Source: `Documentation/filesystems/ext4/blockgroup.rst`, "Meta Block Groups".
    pub(crate) fn descriptor_place(&self, group: u32) -> Result<(u64, usize)> {
        let per_block = self.block_size / u32::from(self.descriptor_size);
        let (index, slot) = (group / per_block, group % per_block);
        let superblock = self.superblock_place().0;
        let block = if self.incompat & incompat::META_BG == 0 || index < self.first_meta_bg {
            superblock + 1 + u64::from(index)
        } else {
            let first = index * per_block;
            let behind = match self.group_blocks(first).0 {
                0 => superblock,
                first => first,
            };
            behind + u64::from(self.has_superblock(first))
        };
        if block >= self.blocks {
            return Err(Error::Corrupt("group descriptors behind the end"));
        }
        Ok((block, slot as usize * usize::from(self.descriptor_size)))
    }

    /// The checksum of a group's descriptor, if there are any.
    pub(crate) fn descriptor_checksum(&self, group: u32, bytes: &[u8]) -> Result<Option<u16>> {
        let number = group.to_le_bytes();
        let before = part(bytes, 0, 0x1e)?;
        let rest = bytes.get(0x20..).unwrap_or_default();
        Ok(if self.metadata_csum() {
            Some(crc32c(self.seed, &[&number, before, &[0, 0], rest]) as u16)
        } else if self.ro_compat & ro_compat::GDT_CSUM != 0 {
            Some(checksum::crc16(&[&self.uuid, &number, before, rest]))
        } else {
            None
        })
    }

    /// What the checksums of what belongs to an inode start with.
    pub(crate) fn inode_seed(&self, inode: u32, generation: u32) -> u32 {
        crc32c(self.seed, &[&inode.to_le_bytes(), &generation.to_le_bytes()])
    }
}
