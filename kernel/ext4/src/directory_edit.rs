// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries of directories are added, removed and changed.

use alloc::vec::Vec;

use crate::{
    buffers::Checked,
    checksum::crc32c,
    device::BlockDevice,
    directory::{EntryPlace, HEAD, TAIL, TAIL_TYPE, entries, is_node},
    error::{Error, Result},
    extents::Extent,
    extents_edit::Tree,
    features::{compat, incompat},
    geometry::Geometry,
    index, index_edit,
    inode::{Inode, flags},
    layout::{RawEntry, part, part_mut, view_mut},
    volume::Ext4,
};

/// Bytes that an entry with a name needs.
pub(crate) fn needed(name: &[u8]) -> usize {
    (HEAD + name.len()).next_multiple_of(4)
}

impl Geometry {
    /// Where the entries of a directory's block end: a checksum may follow.
    pub(crate) fn entries_end(&self) -> usize {
        self.block_bytes() - if self.metadata_csum() { TAIL } else { 0 }
    }
}

/// Writes an entry.
pub(crate) fn write_entry(
    bytes: &mut [u8],
    at: usize,
    len: usize,
    inode: u32,
    name: &[u8],
    file_type: u8,
) -> Result<()> {
    let raw: &mut RawEntry = view_mut(bytes, at)?;
    raw.inode.set(inode);
    raw.rec_len.set(len as u16);
    raw.name_len = name.len() as u8;
    raw.file_type = file_type;
    part_mut(bytes, at + HEAD, name.len())?.copy_from_slice(name);
    Ok(())
}

/// Makes a block one without names.
pub(crate) fn clear(geometry: &Geometry, bytes: &mut [u8]) -> Result<()> {
    bytes.fill(0);
    let end = geometry.entries_end();
    write_entry(bytes, 0, end, 0, b"", 0)?;
    if end < bytes.len() {
        write_entry(bytes, end, TAIL, 0, b"", TAIL_TYPE)?;
    }
    Ok(())
}

/// Where there is room for a name: the entry's place, what it keeps, and its whole length.
fn room(bytes: &[u8], name: &[u8]) -> Result<Option<(usize, usize, usize)>> {
    for found in entries(bytes, 0) {
        let found = found?;
        let kept = if found.inode == 0 { 0 } else { needed(found.name) };
        if found.len >= kept + needed(name) {
            return Ok(Some((found.at, kept, found.len)));
        }
    }
    Ok(None)
}

/// Adds a name to a block's entries, which end with `bytes`. False if there is no room.
pub(crate) fn insert(bytes: &mut [u8], inode: u32, name: &[u8], file_type: u8) -> Result<bool> {
    let Some((at, kept, len)) = room(bytes, name)? else { return Ok(false) };
    if kept > 0 {
        view_mut::<RawEntry>(bytes, at)?.rec_len.set(kept as u16);
    }
    write_entry(bytes, at + kept, len - kept, inode, name, file_type)?;
    Ok(true)
}

impl<D: BlockDevice> Ext4<D> {
    /// A block of a directory, to be changed, and its place.
    pub(crate) fn change_block(&mut self, inode: &Inode, number: u32) -> Result<(u64, &mut Vec<u8>)> {
        self.directory_block(inode, number)?;
        let block = self.directory_block_place(inode, number)?;
        Ok((block, self.buffers.modify(block)?))
    }

    /// Gives a block of a directory its checksum.
    pub(crate) fn seal_directory_block(&mut self, inode: &Inode, number: u32, block: u64) -> Result<()> {
        if !self.geometry.metadata_csum() {
            return Ok(());
        }
        let bytes = self.buffers.modify(block)?;
        let (at, sum) = if inode.has(flags::INDEX) && (number == 0 || is_node(inode, bytes)) {
            index::checksum(bytes, inode.seed, number == 0)?
        } else {
            let tail = bytes.len() - TAIL;
            (tail + HEAD, crc32c(inode.seed, &[part(bytes, 0, tail)?]))
        };
        part_mut(bytes, at, 4)?.copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    /// A new block at the end of a directory, without names. The inode is for the caller to store.
    pub(crate) fn append_block(&mut self, inode: &mut Inode) -> Result<(u32, u64)> {
        let number = self.geometry.directory_blocks(inode);
        let goal = match number.checked_sub(1) {
            Some(last) => self.directory_block_place(inode, last)? + 1,
            None => self.goal_for(inode)?,
        };
        let (block, _) = self.allocate_blocks(goal, 1)?;
        let bytes = self.buffers.create(block, Checked::Directory(inode.number()))?;
        clear(&self.geometry, bytes)?;
        self.add_blocks(inode, 1)?;
        Tree { volume: self, inode }.insert(&Extent {
            block: number,
            len: 1,
            start: block,
            written: true,
        })?;
        inode.set_size(u64::from(number + 1) * u64::from(self.geometry.block_size));
        self.seal_directory_block(inode, number, block)?;
        Ok((number, block))
    }

    /// Where the first block of a file is looked for: in its inode's group.
    pub(crate) fn goal_for(&mut self, inode: &Inode) -> Result<u64> {
        let (group, _) = self.geometry.group_of_inode(inode.number())?;
        Ok(self.geometry.group_blocks(group).0)
    }

    /// Fails for directories that can be read but not changed.
    fn must_be_changeable(&self, inode: &Inode) -> Result<()> {
        if !inode.is_directory() {
            return Err(Error::NotADirectory);
        }
        if inode.has(flags::INLINE_DATA) {
            return Err(Error::Unsupported("changes of a directory that is in its inode"));
        }
        if !inode.has(flags::EXTENTS) {
            return Err(Error::Unsupported("changes of a directory without extents"));
        }
        Ok(())
    }

    /// Adds a name that is not there. The directory's inode is for the caller to store.
    pub(crate) fn add_entry(
        &mut self,
        inode: &mut Inode,
        name: &[u8],
        target: u32,
        file_type: u8,
    ) -> Result<()> {
        self.must_be_changeable(inode)?;
        let file_type = if self.geometry.incompat & incompat::FILETYPE == 0 { 0 } else { file_type };
        if inode.has(flags::INDEX) {
            return index_edit::insert(self, inode, name, target, file_type);
        }
        let blocks = self.geometry.directory_blocks(inode);
        for number in 0..blocks {
            if self.insert_in_block(inode, number, name, target, file_type)? {
                return Ok(());
            }
        }
        if blocks == 1 && self.geometry.compat & compat::DIR_INDEX != 0 {
            index_edit::start(self, inode)?;
            return index_edit::insert(self, inode, name, target, file_type);
        }
        let (number, _) = self.append_block(inode)?;
        if !self.insert_in_block(inode, number, name, target, file_type)? {
            return Err(Error::BadName);
        }
        Ok(())
    }

    /// Adds a name to a block, if there is room.
    pub(crate) fn insert_in_block(
        &mut self,
        inode: &Inode,
        number: u32,
        name: &[u8],
        target: u32,
        file_type: u8,
    ) -> Result<bool> {
        let end = self.geometry.entries_end();
        let bytes = self.directory_block(inode, number)?;
        if room(part(&bytes, 0, end)?, name)?.is_none() {
            return Ok(false);
        }
        drop(bytes);
        let (block, bytes) = self.change_block(inode, number)?;
        insert(part_mut(bytes, 0, end)?, target, name, file_type)?;
        self.seal_directory_block(inode, number, block)?;
        Ok(true)
    }

    /// Removes an entry: the one before it gets its room, or it is free.
    pub(crate) fn remove_entry(&mut self, inode: &Inode, place: EntryPlace) -> Result<()> {
        self.must_be_changeable(inode)?;
        let (block, bytes) = self.change_block(inode, place.number)?;
        let mut before = None;
        let mut len = 0;
        for found in entries(bytes, 0) {
            let found = found?;
            if found.at == place.at {
                len = found.len;
                break;
            }
            before = Some((found.at, found.len));
        }
        match before {
            Some((at, its)) => view_mut::<RawEntry>(bytes, at)?.rec_len.set((its + len) as u16),
            None => view_mut::<RawEntry>(bytes, place.at)?.inode.set(0),
        }
        self.seal_directory_block(inode, place.number, block)
    }

    /// Has an entry name another inode.
    pub(crate) fn change_entry(
        &mut self,
        inode: &Inode,
        place: EntryPlace,
        target: u32,
        file_type: u8,
    ) -> Result<()> {
        self.must_be_changeable(inode)?;
        let file_type = if self.geometry.incompat & incompat::FILETYPE == 0 { 0 } else { file_type };
        let (block, bytes) = self.change_block(inode, place.number)?;
        let raw: &mut RawEntry = view_mut(bytes, place.at)?;
        raw.inode.set(target);
        raw.file_type = file_type;
        self.seal_directory_block(inode, place.number, block)
    }

    /// Whether a directory has no names but its own and its parent's.
    pub(crate) fn is_empty(&mut self, inode: &Inode) -> Result<bool> {
        let mut empty = true;
        self.list(inode, 0, |entry| {
            empty = matches!(entry.name, b"." | b"..");
            empty
        })?;
        Ok(empty)
    }
}
