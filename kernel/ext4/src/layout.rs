// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structures on the disk, byte by byte. Source: Linux `Documentation/filesystems/ext4/`, a chapter for each.

use alloc::vec::Vec;

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use crate::error::{Error, Result};

/// `super.rst`: 1024 bytes at offset 1024.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawSuperblock {
    pub inodes_count: U32,
    pub blocks_count_lo: U32,
    pub r_blocks_count_lo: U32,
    pub free_blocks_count_lo: U32,
    pub free_inodes_count: U32,
    pub first_data_block: U32,
    pub log_block_size: U32,
    pub log_cluster_size: U32,
    pub blocks_per_group: U32,
    pub clusters_per_group: U32,
    pub inodes_per_group: U32,
    pub mtime: U32,
    pub wtime: U32,
    pub mnt_count: U16,
    pub max_mnt_count: U16,
    pub magic: U16,
    pub state: U16,
    pub errors: U16,
    pub minor_rev_level: U16,
    pub lastcheck: U32,
    pub checkinterval: U32,
    pub creator_os: U32,
    pub rev_level: U32,
    pub def_resuid: U16,
    pub def_resgid: U16,
    pub first_ino: U32,
    pub inode_size: U16,
    pub block_group_nr: U16,
    pub feature_compat: U32,
    pub feature_incompat: U32,
    pub feature_ro_compat: U32,
    pub uuid: [u8; 16],
    pub volume_name: [u8; 16],
    pub last_mounted: [u8; 64],
    pub algorithm_usage_bitmap: U32,
    pub prealloc_blocks: u8,
    pub prealloc_dir_blocks: u8,
    pub reserved_gdt_blocks: U16,
    pub journal_uuid: [u8; 16],
    pub journal_inum: U32,
    pub journal_dev: U32,
    pub last_orphan: U32,
    pub hash_seed: [U32; 4],
    pub def_hash_version: u8,
    pub jnl_backup_type: u8,
    pub desc_size: U16,
    pub default_mount_opts: U32,
    pub first_meta_bg: U32,
    pub mkfs_time: U32,
    pub jnl_blocks: [U32; 17],
    pub blocks_count_hi: U32,
    pub r_blocks_count_hi: U32,
    pub free_blocks_count_hi: U32,
    pub min_extra_isize: U16,
    pub want_extra_isize: U16,
    pub flags: U32,
    pub raid_stride: U16,
    pub mmp_interval: U16,
    pub mmp_block: U64,
    pub raid_stripe_width: U32,
    pub log_groups_per_flex: u8,
    pub checksum_type: u8,
    pub reserved_176: U16,
    pub kbytes_written: U64,
    pub reserved_180: [u8; 0xf0],
    pub checksum_seed: U32,
    pub reserved_274: [u8; 0x188],
    pub checksum: U32,
}

const _: () =
    assert!(size_of::<RawSuperblock>() == 1024 && core::mem::offset_of!(RawSuperblock, checksum) == 0x3fc);
const _: () = assert!(core::mem::offset_of!(RawSuperblock, blocks_count_hi) == 0x150);
const _: () = assert!(core::mem::offset_of!(RawSuperblock, checksum_seed) == 0x270);

/// `group_descr.rst`: the first 32 bytes are always there, the rest with `64bit`.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawGroup {
    pub block_bitmap_lo: U32,
    pub inode_bitmap_lo: U32,
    pub inode_table_lo: U32,
    pub free_blocks_lo: U16,
    pub free_inodes_lo: U16,
    pub used_dirs_lo: U16,
    pub flags: U16,
    pub exclude_bitmap_lo: U32,
    pub block_bitmap_csum_lo: U16,
    pub inode_bitmap_csum_lo: U16,
    pub itable_unused_lo: U16,
    pub checksum: U16,
    pub block_bitmap_hi: U32,
    pub inode_bitmap_hi: U32,
    pub inode_table_hi: U32,
    pub free_blocks_hi: U16,
    pub free_inodes_hi: U16,
    pub used_dirs_hi: U16,
    pub itable_unused_hi: U16,
    pub exclude_bitmap_hi: U32,
    pub block_bitmap_csum_hi: U16,
    pub inode_bitmap_csum_hi: U16,
    pub reserved: U32,
}

const _: () = assert!(size_of::<RawGroup>() == 64 && core::mem::offset_of!(RawGroup, block_bitmap_hi) == 32);

/// `inodes.rst`: the first 160 bytes. What an inode of 128 bytes has not is zero.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawInode {
    pub mode: U16,
    pub uid_lo: U16,
    pub size_lo: U32,
    pub atime: U32,
    pub ctime: U32,
    pub mtime: U32,
    pub dtime: U32,
    pub gid_lo: U16,
    pub links_count: U16,
    pub blocks_lo: U32,
    pub flags: U32,
    pub version: U32,
    pub block: [u8; 60],
    pub generation: U32,
    pub file_acl_lo: U32,
    pub size_hi: U32,
    pub obso_faddr: U32,
    pub blocks_hi: U16,
    pub file_acl_hi: U16,
    pub uid_hi: U16,
    pub gid_hi: U16,
    pub checksum_lo: U16,
    pub reserved: U16,
    pub extra_isize: U16,
    pub checksum_hi: U16,
    pub ctime_extra: U32,
    pub mtime_extra: U32,
    pub atime_extra: U32,
    pub crtime: U32,
    pub crtime_extra: U32,
    pub version_hi: U32,
    pub projid: U32,
}

const _: () = assert!(size_of::<RawInode>() == 160 && core::mem::offset_of!(RawInode, extra_isize) == 128);

/// `ifork.rst`: what an extent node starts with.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawExtentHeader {
    pub magic: U16,
    pub entries: U16,
    pub max: U16,
    pub depth: U16,
    pub generation: U32,
}

/// An extent in a leaf.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawExtent {
    pub block: U32,
    pub len: U16,
    pub start_hi: U16,
    pub start_lo: U32,
}

/// An entry of an inner node.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawExtentIndex {
    pub block: U32,
    pub leaf_lo: U32,
    pub leaf_hi: U16,
    pub unused: U16,
}

/// `directory.rst`: what stands before a name.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawEntry {
    pub inode: U32,
    pub rec_len: U16,
    pub name_len: u8,
    pub file_type: u8,
}

/// The structure at `at`, which lies within `bytes` or the image is wrong.
pub(crate) fn view<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &[u8],
    at: usize,
) -> Result<&T> {
    let rest = bytes.get(at..).ok_or(Error::Corrupt("a structure that ends behind its block"))?;
    T::ref_from_prefix(rest)
        .map(|(it, _)| it)
        .map_err(|_| Error::Corrupt("a structure that ends behind its block"))
}

/// The same, to be changed.
pub(crate) fn view_mut<T: FromBytes + IntoBytes + KnownLayout + Unaligned>(
    bytes: &mut [u8],
    at: usize,
) -> Result<&mut T> {
    let rest = bytes.get_mut(at..).ok_or(Error::Corrupt("a structure that ends behind its block"))?;
    T::mut_from_prefix(rest)
        .map(|(it, _)| it)
        .map_err(|_| Error::Corrupt("a structure that ends behind its block"))
}

/// Part of a block, which lies within it or the image is wrong.
pub(crate) fn part(bytes: &[u8], at: usize, len: usize) -> Result<&[u8]> {
    at.checked_add(len)
        .and_then(|end| bytes.get(at..end))
        .ok_or(Error::Corrupt("a structure that ends behind its block"))
}

/// The same, to be changed.
pub(crate) fn part_mut(bytes: &mut [u8], at: usize, len: usize) -> Result<&mut [u8]> {
    at.checked_add(len)
        .and_then(|end| bytes.get_mut(at..end))
        .ok_or(Error::Corrupt("a structure that ends behind its block"))
}

/// A little-endian number.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    view::<U32>(bytes, at).map(|it| it.get())
}

/// Memory for `len` bytes of zeros, if there is any.
pub(crate) fn zeroed(len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Error::NoMemory)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// A copy in memory that may be refused.
pub(crate) fn copied(from: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(from.len()).map_err(|_| Error::NoMemory)?;
    bytes.extend_from_slice(from);
    Ok(bytes)
}

/// What each of the journal's own blocks starts with, in big endian, as all of its numbers.
pub(crate) const JOURNAL_MAGIC: u32 = 0xc03b_3998;
