// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories: blocks full of entries, each of which says where the next one is.
//! Source: Linux `Documentation/filesystems/ext4/directory.rst`, "Linear (Classic) Directories".

use crate::{
    buffers::{Block, Checked},
    checksum::crc32c,
    device::BlockDevice,
    error::{Error, Result},
    features::incompat,
    geometry::{Geometry, ROOT},
    index,
    inline::{IN_BLOCK_FIELD, PARENT},
    inode::{Inode, flags},
    layout::{RawEntry, part, u32_at, view},
    run::Place,
    volume::Ext4,
};

/// Bytes of an entry before its name.
pub(crate) const HEAD: usize = 8;
/// Bytes of the entry without a name that has a block's checksum.
pub(crate) const TAIL: usize = 12;
/// The type of that entry.
pub(crate) const TAIL_TYPE: u8 = 0xde;
/// The longest name.
pub(crate) const LONGEST_NAME: usize = 255;

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name: without a slash or a zero, unless the image is wrong.
    pub name: &'a [u8],
    /// The inode that has it.
    pub inode: u32,
    /// Its type, if the directory says: 1 file, 2 directory, 3 character device, 4 block device, 5 pipe, 6 socket, 7 symbolic link, else 0.
    pub file_type: u8,
    /// Where the next entry is looked for.
    pub next: u64,
}

/// An entry and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub at: usize,
    pub len: usize,
    pub inode: u32,
    pub name: &'a [u8],
    pub file_type: u8,
}

/// The entries in `bytes` from `at` on, also those that are free. Ends at the first that is wrong.
pub(crate) fn entries(bytes: &[u8], at: usize) -> impl Iterator<Item = Result<Found<'_>>> {
    let mut at = at;
    core::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let found = entry(bytes, at);
        at = found.as_ref().map_or(bytes.len(), |found| at + found.len);
        Some(found)
    })
}

fn entry(bytes: &[u8], at: usize) -> Result<Found<'_>> {
    let raw: &RawEntry = view(bytes, at)?;
    let (len, name_len) = (usize::from(raw.rec_len.get()), usize::from(raw.name_len));
    if len < HEAD + name_len || len % 4 != 0 || len > bytes.len() - at {
        return Err(Error::Corrupt("the length of a directory's entry"));
    }
    if name_len == 0 && raw.inode.get() != 0 {
        return Err(Error::Corrupt("a directory's entry without a name"));
    }
    let name = part(bytes, at + HEAD, name_len)?;
    Ok(Found { at, len, inode: raw.inode.get(), name, file_type: raw.file_type })
}

/// Whether a block is a node of the index below its root: one entry that is free and as long as the block.
pub(crate) fn is_node(inode: &Inode, bytes: &[u8]) -> bool {
    inode.has(flags::INDEX)
        && view::<RawEntry>(bytes, 0)
            .is_ok_and(|it| it.inode.get() == 0 && usize::from(it.rec_len.get()) == bytes.len())
}

/// Checks a block of a directory.
fn check(geometry: &Geometry, inode: &Inode, number: u32, bytes: &[u8]) -> Result<()> {
    for found in entries(bytes, 0) {
        if found?.inode > geometry.inodes {
            return Err(Error::Corrupt("the inode of a directory's entry"));
        }
    }
    if !geometry.checks() {
        return Ok(());
    }
    let sound = if inode.has(flags::INDEX) && (number == 0 || is_node(inode, bytes)) {
        let (at, sum) = index::checksum(bytes, inode.seed, number == 0)?;
        u32_at(bytes, at)? == sum
    } else {
        let tail = bytes.len() - TAIL;
        let raw: &RawEntry = view(bytes, tail)?;
        raw.inode.get() == 0
            && usize::from(raw.rec_len.get()) == TAIL
            && raw.file_type == TAIL_TYPE
            && u32_at(bytes, tail + HEAD)? == crc32c(inode.seed, &[part(bytes, 0, tail)?])
    };
    if sound { Ok(()) } else { Err(Error::Corrupt("the checksum of a directory's block")) }
}

impl Geometry {
    /// Blocks of a directory.
    pub(crate) fn directory_blocks(&self, inode: &Inode) -> u32 {
        u32::try_from(inode.size() / u64::from(self.block_size)).unwrap_or(u32::MAX)
    }

    fn type_of(&self, found: &Found<'_>) -> u8 {
        if self.incompat & incompat::FILETYPE == 0 || found.file_type > 7 { 0 } else { found.file_type }
    }
}

impl<D: BlockDevice> Ext4<D> {
    /// The disk's block that a block of a directory is in.
    pub(crate) fn directory_block_place(&mut self, inode: &Inode, number: u32) -> Result<u64> {
        if number >= self.geometry.directory_blocks(inode) {
            return Err(Error::Corrupt("a block behind the end of a directory"));
        }
        match self.map(inode, number, 1)?.place {
            Place::Written(block) => Ok(block),
            Place::Hole | Place::Unwritten(_) => Err(Error::Corrupt("a hole in a directory")),
        }
    }

    /// A block of a directory, checked.
    pub(crate) fn directory_block(&mut self, inode: &Inode, number: u32) -> Result<Block> {
        let block = self.directory_block_place(inode, number)?;
        let geometry = &self.geometry;
        let kind = Checked::Directory(inode.number());
        self.buffers.read_checked(block, kind, |bytes| check(geometry, inode, number, bytes))
    }

    /// Calls `each` for the names from `position` on (0, or what an entry said), until it says no. In the order of the disk.
    pub fn list(
        &mut self,
        inode: &Inode,
        position: u64,
        mut each: impl FnMut(Entry<'_>) -> bool,
    ) -> Result<()> {
        if !inode.is_directory() {
            return Err(Error::NotADirectory);
        }
        if inode.has(flags::INLINE_DATA) {
            return self.list_inline(inode, position, each);
        }
        let size = u64::from(self.geometry.block_size);
        let first = u32::try_from(position / size).unwrap_or(u32::MAX);
        for number in first..self.geometry.directory_blocks(inode) {
            let bytes = self.directory_block(inode, number)?;
            let start = u64::from(number) * size;
            for found in entries(&bytes, 0) {
                let found = found?;
                // A position may be in the middle of an entry that has grown since.
                if found.inode == 0 || start + (found.at as u64) < position {
                    continue;
                }
                let next = start + (found.at + found.len) as u64;
                let file_type = self.geometry.type_of(&found);
                if !each(Entry { name: found.name, inode: found.inode, file_type, next }) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn list_inline(
        &mut self,
        inode: &Inode,
        position: u64,
        mut each: impl FnMut(Entry<'_>) -> bool,
    ) -> Result<()> {
        let all = self.inline_content(inode)?;
        let parent = u32_at(&all, 0)?;
        if parent == 0 || parent > self.geometry.inodes {
            return Err(Error::Corrupt("the parent of a directory"));
        }
        if position == 0 && !each(Entry { name: b".", inode: inode.number(), file_type: 2, next: 1 }) {
            return Ok(());
        }
        let next = PARENT as u64;
        if position <= 1 && !each(Entry { name: b"..", inode: parent, file_type: 2, next }) {
            return Ok(());
        }
        let (head, rest) = all.split_at(all.len().min(IN_BLOCK_FIELD));
        // No entry crosses from one part to the other.
        let entries = entries(head, PARENT).chain(
            entries(rest, 0).map(|found| found.map(|found| Found { at: found.at + IN_BLOCK_FIELD, ..found })),
        );
        for found in entries {
            let found = found?;
            if found.inode > self.geometry.inodes {
                return Err(Error::Corrupt("the inode of a directory's entry"));
            }
            if found.inode == 0 || (found.at as u64) < position {
                continue;
            }
            let next = (found.at + found.len) as u64;
            let file_type = self.geometry.type_of(&found);
            if !each(Entry { name: found.name, inode: found.inode, file_type, next }) {
                break;
            }
        }
        Ok(())
    }

    /// The inode that has a name in a directory.
    pub fn lookup(&mut self, inode: &Inode, name: &[u8]) -> Result<u32> {
        let number = self.lookup_any(inode, name)?;
        // The journal and its like have no names.
        if number != ROOT && number < self.geometry.first_inode || number > self.geometry.inodes {
            return Err(Error::Corrupt("a name of a reserved inode"));
        }
        Ok(number)
    }

    fn lookup_any(&mut self, inode: &Inode, name: &[u8]) -> Result<u32> {
        if !inode.is_directory() {
            return Err(Error::NotADirectory);
        }
        if name.len() > LONGEST_NAME {
            return Err(Error::BadName);
        }
        if !inode.has(flags::INLINE_DATA) {
            return self.find(inode, name)?.map(|place| place.inode).ok_or(Error::NotFound);
        }
        let mut found = None;
        self.list_inline(inode, 0, |entry| {
            if entry.name == name {
                found = Some(entry.inode);
            }
            found.is_none()
        })?;
        found.ok_or(Error::NotFound)
    }

    /// Where a name is in a directory of blocks.
    pub(crate) fn find(&mut self, inode: &Inode, name: &[u8]) -> Result<Option<EntryPlace>> {
        // Dot entries are in the first block, and have no hash.
        if inode.has(flags::INDEX) && !matches!(name, b"." | b"..") {
            if let Some(found) = index::find(self, inode, name)? {
                return Ok(found);
            }
        }
        for number in 0..self.geometry.directory_blocks(inode) {
            if let Some(place) = self.find_in_block(inode, number, name)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Where a name is in a block of a directory.
    pub(crate) fn find_in_block(
        &mut self,
        inode: &Inode,
        number: u32,
        name: &[u8],
    ) -> Result<Option<EntryPlace>> {
        let bytes = self.directory_block(inode, number)?;
        for found in entries(&bytes, 0) {
            let found = found?;
            if found.inode != 0 && found.name == name {
                return Ok(Some(EntryPlace { number, at: found.at, inode: found.inode }));
            }
        }
        Ok(None)
    }
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryPlace {
    /// The block of the directory.
    pub number: u32,
    /// Where in it.
    pub at: usize,
    /// The inode that it names.
    pub inode: u32,
}
