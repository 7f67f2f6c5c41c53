// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes, in inodes and in blocks of their own. Source: Linux `Documentation/filesystems/ext4/attributes.rst`.

use alloc::vec::Vec;

use crate::{
    buffers::Checked,
    checksum::crc32c,
    device::BlockDevice,
    error::{Error, Result},
    geometry::Geometry,
    inode::Inode,
    layout::{copied, part, part_mut, u32_at},
    volume::Ext4,
};

const MAGIC: u32 = 0xea02_0000;
/// Bytes of an entry before its name.
const ENTRY: usize = 16;
/// Bytes of the header of a block.
const HEADER: usize = 32;
/// The index of the names that start with `system.`.
pub(crate) const SYSTEM: u8 = 7;

/// What a name starts with: names are kept without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace(pub u8);

impl Namespace {
    /// The text, or nothing if the format does not know it.
    pub fn prefix(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "user.",
            2 => "system.posix_acl_access",
            3 => "system.posix_acl_default",
            4 => "trusted.",
            6 => "security.",
            SYSTEM => "system.",
            8 => "system.richacl",
            _ => return None,
        })
    }
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// What its name starts with.
    pub namespace: Namespace,
    /// The rest of its name.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// An entry as it stands there.
struct Raw<'a> {
    index: u8,
    name: &'a [u8],
    value: &'a [u8],
}

/// Calls `each` for the entries from `start` on of `area`, from whose start values are counted, until it says no.
fn walk<'a>(area: &'a [u8], start: usize, mut each: impl FnMut(Raw<'a>) -> Result<bool>) -> Result<()> {
    let mut at = start;
    // Four bytes of zeros are the end.
    while u32_at(area, at)? != 0 {
        let head = part(area, at, ENTRY)?;
        let (name_len, index) =
            (usize::from(head.first().copied().unwrap_or(0)), head.get(1).copied().unwrap_or(0));
        let offset = (u32_at(head, 0)? >> 16) as usize;
        let (inode, size) = (u32_at(head, 4)?, u32_at(head, 8)? as usize);
        if inode != 0 {
            return Err(Error::Unsupported("ea_inode"));
        }
        let name = part(area, at + ENTRY, name_len)?;
        at += ENTRY + name_len.next_multiple_of(4);
        let value = match size {
            0 => &[],
            _ => part(area, offset, size).map_err(|_| Error::Corrupt("the place of an attribute's value"))?,
        };
        if !each(Raw { index, name, value })? {
            break;
        }
    }
    Ok(())
}

/// The attributes in an inode, if there are any: where values are counted from is where entries start.
fn in_inode(inode: &Inode) -> Result<&[u8]> {
    let room = inode.attribute_room();
    match room.get(..4) {
        Some(magic) if magic == MAGIC.to_le_bytes() => Ok(room.get(4..).unwrap_or_default()),
        _ => Ok(&[]),
    }
}

/// The value of an attribute that is in the inode.
pub(crate) fn find_in_inode<'a>(inode: &'a Inode, index: u8, name: &[u8]) -> Result<Option<&'a [u8]>> {
    let area = in_inode(inode)?;
    let mut found = None;
    if !area.is_empty() {
        walk(area, 0, |entry| {
            if entry.index == index && entry.name == name {
                found = Some(entry.value);
            }
            Ok(found.is_none())
        })?;
    }
    Ok(found)
}

/// The checksum of a block of attributes.
fn checksum(seed: u32, number: u64, bytes: &[u8]) -> Result<u32> {
    let (before, behind) = (part(bytes, 0, 16)?, bytes.get(20..).unwrap_or_default());
    Ok(crc32c(seed, &[&number.to_le_bytes(), before, &[0; 4], behind]))
}

/// Checks a block of attributes.
fn check(geometry: &Geometry, number: u64, bytes: &[u8]) -> Result<()> {
    if u32_at(bytes, 0)? != MAGIC || u32_at(bytes, 8)? != 1 {
        return Err(Error::Corrupt("the header of attributes"));
    }
    if geometry.checks() {
        let sum = checksum(geometry.seed, number, bytes)?;
        if sum != u32_at(bytes, 16)? {
            return Err(Error::Corrupt("the checksum of attributes"));
        }
    }
    walk(bytes, HEADER, |_| Ok(true))
}

impl<D: BlockDevice> Ext4<D> {
    pub(crate) fn attribute_block(&mut self, inode: &Inode) -> Result<Option<crate::buffers::Block>> {
        let number = inode.attribute_block();
        if number == 0 {
            return Ok(None);
        }
        if !self.geometry.is_data(number, 1) {
            return Err(Error::Corrupt("a block of attributes behind the end"));
        }
        let geometry = &self.geometry;
        self.buffers
            .read_checked(number, Checked::Attributes, |bytes| check(geometry, number, bytes))
            .map(Some)
    }

    /// Gives a block of attributes its checksum.
    pub(crate) fn seal_attributes(&mut self, number: u64) -> Result<()> {
        if !self.geometry.metadata_csum() {
            return Ok(());
        }
        let seed = self.geometry.seed;
        let bytes = self.buffers.modify(number)?;
        let sum = checksum(seed, number, bytes)?;
        part_mut(bytes, 16, 4)?.copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    /// Calls `each` with the namespace, name and value of each attribute, until it says no. Inline data is none.
    pub fn attributes(
        &mut self,
        inode: &Inode,
        mut each: impl FnMut(Namespace, &[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let area = in_inode(inode)?;
        let mut more = true;
        let mut tell = |entry: Raw<'_>| {
            if entry.index == SYSTEM && entry.name == b"data" {
                return Ok(true);
            }
            more = each(Namespace(entry.index), entry.name, entry.value)?;
            Ok(more)
        };
        if !area.is_empty() {
            walk(area, 0, &mut tell)?;
        }
        if let Some(block) = self.attribute_block(inode)? {
            if more {
                walk(&block, HEADER, |entry| {
                    more = each(Namespace(entry.index), entry.name, entry.value)?;
                    Ok(more)
                })?;
            }
        }
        Ok(())
    }

    /// The value of an attribute.
    pub fn attribute(&mut self, inode: &Inode, namespace: Namespace, name: &[u8]) -> Result<Vec<u8>> {
        let mut found = None;
        self.attributes(inode, |its, its_name, value| {
            if its == namespace && its_name == name {
                found = Some(copied(value)?);
            }
            Ok(found.is_none())
        })?;
        found.ok_or(Error::NotFound)
    }
}
