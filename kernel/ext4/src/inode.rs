// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes. Source: Linux `Documentation/filesystems/ext4/inodes.rst`.

use alloc::vec::Vec;

use crate::{
    checksum::crc32c,
    device::BlockDevice,
    error::{Error, Result},
    features::{incompat, ro_compat},
    geometry::{Geometry, ROOT},
    layout::{RawInode, copied, part, view},
    volume::Ext4,
};

/// Flags of inodes.
pub mod flags {
    /// Nothing may be changed.
    pub const IMMUTABLE: u32 = 0x10;
    /// Data is added at the end alone.
    pub const APPEND: u32 = 0x20;
    /// Encrypted, which is not supported.
    pub const ENCRYPT: u32 = 0x800;
    /// A directory with an index of hashes.
    pub const INDEX: u32 = 0x1000;
    /// `blocks` counts blocks and not 512 bytes.
    pub const HUGE_FILE: u32 = 0x4_0000;
    /// Its blocks are in extents.
    pub const EXTENTS: u32 = 0x8_0000;
    /// Its content is in the inode.
    pub const INLINE_DATA: u32 = 0x1000_0000;
}

/// The type bits of `mode`.
pub mod kind {
    /// All of them.
    pub const MASK: u16 = 0xf000;
    /// A pipe.
    pub const FIFO: u16 = 0x1000;
    /// A character device.
    pub const CHARACTER: u16 = 0x2000;
    /// A directory.
    pub const DIRECTORY: u16 = 0x4000;
    /// A block device.
    pub const BLOCK: u16 = 0x6000;
    /// A file.
    pub const REGULAR: u16 = 0x8000;
    /// A symbolic link.
    pub const LINK: u16 = 0xa000;
    /// A socket's name.
    pub const SOCKET: u16 = 0xc000;
}

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds, below 1 000 000 000.
    pub nanoseconds: u32,
}

/// Where a field of the part behind the first 128 bytes ends, counted from there.
mod ends {
    pub(super) const CHECKSUM_HI: usize = 4;
    pub(super) const CTIME: usize = 8;
    pub(super) const MTIME: usize = 12;
    pub(super) const ATIME: usize = 16;
    pub(super) const CRTIME: usize = 24;
}

/// An inode as it was when it was read, checked.
#[derive(Clone, Debug)]
pub struct Inode {
    number: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) raw: RawInodeBox,
    extra: usize,
    /// What the checksums of what belongs to it start with.
    pub(crate) seed: u32,
}

/// The known fields; it has no `Debug` of its own.
#[derive(Clone)]
pub(crate) struct RawInodeBox(pub(crate) RawInode);

impl core::fmt::Debug for RawInodeBox {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "mode {:o}", self.0.mode.get())
    }
}

/// A time of which `extra` has the nanoseconds and two more bits of seconds.
fn time(seconds: u32, extra: u32) -> Time {
    let epoch = i64::from(extra & 3) << 32;
    // A number of nanoseconds that there is not is not worth refusing the file.
    Time { seconds: i64::from(seconds as i32) + epoch, nanoseconds: (extra >> 2).min(999_999_999) }
}

impl Inode {
    /// Takes an inode from its bytes, which are as many as the superblock says.
    pub(crate) fn parse(geometry: &Geometry, number: u32, bytes: &[u8]) -> Result<Self> {
        let mut whole = [0; 160];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = *from;
        }
        let raw = view::<RawInode>(&whole, 0)?.clone();
        let mut extra = 0;
        if geometry.inode_size > 128 {
            extra = usize::from(raw.extra_isize.get());
            // An inode that was never used has none.
            if extra > usize::from(geometry.inode_size) - 128 || extra % 4 != 0 {
                return Err(Error::Corrupt("the size of an inode's extra fields"));
            }
        }
        let seed = geometry.inode_seed(number, raw.generation.get());
        let inode = Self { number, bytes: copied(bytes)?, raw: RawInodeBox(raw), extra, seed };
        if geometry.checks() && inode.stored_checksum() != inode.checksum()? {
            return Err(Error::Corrupt("an inode's checksum"));
        }
        inode.check(geometry)?;
        Ok(inode)
    }

    /// One that was not on the disk yet.
    pub(crate) fn fresh(geometry: &Geometry, number: u32, bytes: Vec<u8>, raw: RawInode) -> Self {
        let extra = if geometry.inode_size > 128 { usize::from(raw.extra_isize.get()) } else { 0 };
        let seed = geometry.inode_seed(number, raw.generation.get());
        Self { number, bytes, raw: RawInodeBox(raw), extra, seed }
    }

    /// How many of its bytes are fields; attributes may follow.
    pub(crate) fn known_bytes(&self) -> usize {
        (128 + self.extra).min(size_of::<RawInode>()).min(self.bytes.len())
    }

    /// What must be true of every inode that is in use.
    fn check(&self, geometry: &Geometry) -> Result<()> {
        let known = matches!(
            self.kind(),
            kind::FIFO
                | kind::CHARACTER
                | kind::DIRECTORY
                | kind::BLOCK
                | kind::REGULAR
                | kind::LINK
                | kind::SOCKET
        );
        if !known && self.number >= geometry.first_inode
            || self.number == ROOT && self.kind() != kind::DIRECTORY
        {
            return Err(Error::Corrupt("an inode's type"));
        }
        if self.has(flags::ENCRYPT) {
            return Err(Error::Unsupported("encrypt"));
        }
        if self.has(flags::EXTENTS) && geometry.incompat & incompat::EXTENTS == 0
            || self.has(flags::INLINE_DATA) && geometry.incompat & incompat::INLINE_DATA == 0
            || self.has(flags::EXTENTS) && self.has(flags::INLINE_DATA)
        {
            return Err(Error::Corrupt("an inode's flags"));
        }
        let block = u64::from(geometry.block_size);
        let most = if self.has(flags::EXTENTS) {
            u64::from(u32::MAX) * block
        } else {
            let per_block = block / 4;
            (12 + per_block + per_block * per_block + per_block * per_block * per_block)
                .min(u64::from(u32::MAX))
                * block
        };
        let size = self.size();
        let fits = match self.kind() {
            kind::DIRECTORY if self.has(flags::INLINE_DATA) => size <= block,
            // No directory has holes, so it is no larger than the disk: listing one ends.
            kind::DIRECTORY => size % block == 0 && size / block <= geometry.blocks,
            kind::LINK => size <= block,
            _ => size <= most,
        };
        if !fits {
            return Err(Error::Corrupt("the size of a file"));
        }
        Ok(())
    }

    fn stored_checksum(&self) -> u32 {
        let low = u32::from(self.raw.0.checksum_lo.get());
        match self.extra >= ends::CHECKSUM_HI {
            true => low | (u32::from(self.raw.0.checksum_hi.get()) << 16),
            false => low,
        }
    }

    /// The checksum that it should have. Source: `ext4_inode_csum` takes the fields of the sum itself as zeros.
    pub(crate) fn checksum(&self) -> Result<u32> {
        let bytes = &self.bytes;
        let first = [part(bytes, 0, 0x7c)?, &[0, 0], part(bytes, 0x7e, 2)?];
        let mut sum = crc32c(self.seed, &first);
        if bytes.len() > 128 {
            sum = crc32c(sum, &[part(bytes, 128, 2)?]);
            let mut at = 130;
            if self.extra >= ends::CHECKSUM_HI {
                sum = crc32c(sum, &[&[0, 0]]);
                at = 132;
            }
            sum = crc32c(sum, &[bytes.get(at..).unwrap_or_default()]);
        }
        Ok(if self.extra >= ends::CHECKSUM_HI { sum } else { sum & 0xffff })
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Type and permission bits.
    pub fn mode(&self) -> u16 {
        self.raw.0.mode.get()
    }

    /// Type bits, as in [`kind`].
    pub fn kind(&self) -> u16 {
        self.mode() & kind::MASK
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind() == kind::DIRECTORY
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        (u32::from(self.raw.0.uid_hi.get()) << 16) | u32::from(self.raw.0.uid_lo.get())
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        (u32::from(self.raw.0.gid_hi.get()) << 16) | u32::from(self.raw.0.gid_lo.get())
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        (u64::from(self.raw.0.size_hi.get()) << 32) | u64::from(self.raw.0.size_lo.get())
    }

    /// Names that it has. A directory with more than 65 000 below it has 1.
    pub fn links(&self) -> u16 {
        self.raw.0.links_count.get()
    }

    /// Flags, as in [`flags`].
    pub fn flags(&self) -> u32 {
        self.raw.0.flags.get()
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags() & flag != 0
    }

    /// The number that tells it from an earlier inode with the same number (for NFS).
    pub fn generation(&self) -> u32 {
        self.raw.0.generation.get()
    }

    /// What it takes on the disk, in units of 512 bytes.
    pub fn sectors(&self, geometry: &Geometry) -> u64 {
        let low = u64::from(self.raw.0.blocks_lo.get());
        if geometry.ro_compat & ro_compat::HUGE_FILE == 0 {
            return low;
        }
        let all = low | (u64::from(self.raw.0.blocks_hi.get()) << 32);
        if self.has(flags::HUGE_FILE) { all * u64::from(geometry.block_size / 512) } else { all }
    }

    /// When it was last read.
    pub fn accessed(&self) -> Time {
        time(self.raw.0.atime.get(), self.extra_field(ends::ATIME, self.raw.0.atime_extra.get()))
    }

    /// When its content was last changed.
    pub fn modified(&self) -> Time {
        time(self.raw.0.mtime.get(), self.extra_field(ends::MTIME, self.raw.0.mtime_extra.get()))
    }

    /// When anything of it was last changed.
    pub fn changed(&self) -> Time {
        time(self.raw.0.ctime.get(), self.extra_field(ends::CTIME, self.raw.0.ctime_extra.get()))
    }

    /// When it was made, if that is known.
    pub fn created(&self) -> Option<Time> {
        (self.extra >= ends::CRTIME).then(|| time(self.raw.0.crtime.get(), self.raw.0.crtime_extra.get()))
    }

    fn extra_field(&self, end: usize, value: u32) -> u32 {
        if self.extra >= end { value } else { 0 }
    }

    /// A device's number, in the older or the newer of the two encodings: major and minor.
    pub fn device(&self) -> Option<(u32, u32)> {
        if !matches!(self.kind(), kind::CHARACTER | kind::BLOCK) {
            return None;
        }
        let word = |at: usize| {
            self.raw.0.block.get(at..at + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        match word(0) {
            0 => Some(((word(4) >> 8) & 0xfff, (word(4) & 0xff) | ((word(4) >> 12) & 0xfff00))),
            old => Some(((old >> 8) & 0xff, old & 0xff)),
        }
    }

    /// The block with attributes, 0 if it has none.
    pub(crate) fn attribute_block(&self) -> u64 {
        (u64::from(self.raw.0.file_acl_hi.get()) << 32) | u64::from(self.raw.0.file_acl_lo.get())
    }

    /// The 60 bytes for extents, block numbers, a short target or the start of inline data.
    pub(crate) fn block_field(&self) -> &[u8] {
        &self.raw.0.block
    }

    /// The room for attributes behind the extra fields.
    pub(crate) fn attribute_room(&self) -> &[u8] {
        match self.extra {
            0 => &[],
            extra => self.bytes.get(128 + extra..).unwrap_or_default(),
        }
    }

    /// Whether a symbolic link's target is in the inode.
    pub(crate) fn is_fast_link(&self) -> bool {
        self.kind() == kind::LINK
            && self.size() < 60
            && !self.has(flags::EXTENTS)
            && !self.has(flags::INLINE_DATA)
    }
}

impl<D: BlockDevice> Ext4<D> {
    /// The block with an inode, and where in it.
    pub(crate) fn inode_place(&mut self, number: u32) -> Result<(u64, usize)> {
        let (group, index) = self.geometry.group_of_inode(number)?;
        let table = self.group(group)?.inode_table;
        let at = u64::from(index) * u64::from(self.geometry.inode_size);
        let block_size = u64::from(self.geometry.block_size);
        Ok((table + at / block_size, (at % block_size) as usize))
    }

    /// An inode that is in use.
    pub fn inode(&mut self, number: u32) -> Result<Inode> {
        let inode = self.inode_even_unlinked(number)?;
        if inode.links() == 0 {
            return Err(Error::Corrupt("a name of an inode that is free"));
        }
        Ok(inode)
    }

    /// An inode that may have lost its last name.
    pub(crate) fn inode_even_unlinked(&mut self, number: u32) -> Result<Inode> {
        let (block, at) = self.inode_place(number)?;
        let bytes = self.buffers.read(block)?;
        Inode::parse(&self.geometry, number, part(&bytes, at, usize::from(self.geometry.inode_size))?)
    }
}
