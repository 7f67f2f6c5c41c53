// SPDX-License-Identifier: MIT OR Apache-2.0
//! The feature bits of the superblock, and which of them this crate knows. Source: Linux
//! `Documentation/filesystems/ext4/super.rst`.

#![expect(missing_docs, reason = "the names are the format's")]

pub mod compat {
    pub const HAS_JOURNAL: u32 = 0x4;
    pub const DIR_INDEX: u32 = 0x20;
}

pub mod incompat {
    pub const FILETYPE: u32 = 0x2;
    pub const RECOVER: u32 = 0x4;
    pub const META_BG: u32 = 0x10;
    pub const EXTENTS: u32 = 0x40;
    pub const SIXTY_FOUR: u32 = 0x80;
    pub const MMP: u32 = 0x100;
    pub const FLEX_BG: u32 = 0x200;
    pub const CSUM_SEED: u32 = 0x2000;
    pub const LARGEDIR: u32 = 0x4000;
    pub const INLINE_DATA: u32 = 0x8000;
}

pub mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const LARGE_FILE: u32 = 0x2;
    pub const HUGE_FILE: u32 = 0x8;
    pub const GDT_CSUM: u32 = 0x10;
    pub const DIR_NLINK: u32 = 0x20;
    pub const EXTRA_ISIZE: u32 = 0x40;
    pub const BIGALLOC: u32 = 0x200;
    pub const METADATA_CSUM: u32 = 0x400;
}

/// Without these an image cannot be understood; any other bit of the set is refused.
const READABLE: u32 = incompat::FILETYPE
    | incompat::RECOVER
    | incompat::META_BG
    | incompat::EXTENTS
    | incompat::SIXTY_FOUR
    | incompat::MMP
    | incompat::FLEX_BG
    | incompat::CSUM_SEED
    | incompat::LARGEDIR
    | incompat::INLINE_DATA;

/// What may be written to: quotas, clusters, an orphan file with entries and the like would no longer be true afterwards.
const WRITABLE_RO: u32 = ro_compat::SPARSE_SUPER
    | ro_compat::LARGE_FILE
    | ro_compat::HUGE_FILE
    | ro_compat::GDT_CSUM
    | ro_compat::DIR_NLINK
    | ro_compat::EXTRA_ISIZE
    | ro_compat::METADATA_CSUM;

/// The name of the first incompatible feature in `bits` that this crate does not know.
pub fn unknown_incompat(bits: u32) -> Option<&'static str> {
    let unknown = bits & !READABLE;
    if unknown == 0 {
        return None;
    }
    Some(match 1_u32 << unknown.trailing_zeros() {
        0x1 => "compression",
        0x8 => "journal_dev",
        0x400 => "ea_inode",
        0x1000 => "dirdata",
        0x1_0000 => "encrypt",
        0x2_0000 => "casefold",
        _ => "an incompatible feature without a name",
    })
}

/// The name of a feature for which an image may be read but not written.
pub fn read_only_feature(incompat: u32, ro_compat: u32) -> Option<&'static str> {
    if incompat & incompat::MMP != 0 {
        return Some("mmp");
    }
    let unknown = ro_compat & !WRITABLE_RO;
    if unknown == 0 {
        return None;
    }
    Some(match 1_u32 << unknown.trailing_zeros() {
        0x4 => "btree_dir",
        0x80 => "snapshot",
        0x100 => "quota",
        0x200 => "bigalloc",
        0x800 => "replica",
        0x1000 => "read-only",
        0x2000 => "project",
        0x4000 => "shared_blocks",
        0x8000 => "verity",
        0x1_0000 => "orphan_present",
        _ => "a read-only compatible feature without a name",
    })
}
