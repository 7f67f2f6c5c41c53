// SPDX-License-Identifier: MIT OR Apache-2.0
//! The index of a large directory: a tree of hashes whose leaves are ordinary blocks of entries. To a reader who does not know it, its nodes
//! look like free entries. Source: Linux `Documentation/filesystems/ext4/directory.rst`, "Hash Tree Directories".

use alloc::vec::Vec;

use crate::{
    buffers::Block,
    checksum::crc32c,
    device::BlockDevice,
    directory::EntryPlace,
    error::{Error, Result},
    features::incompat,
    geometry::Geometry,
    hash::Hasher,
    inode::Inode,
    layout::{part, u32_at},
    volume::Ext4,
};

/// Where entries are in the root, behind `.`, `..` and the root's own fields, and in other nodes.
pub(crate) const ROOT_ENTRIES: usize = 32;
pub(crate) const NODE_ENTRIES: usize = 8;
/// Where the root's own fields are.
pub(crate) const INFO: usize = 24;
/// Bytes of an entry; the first one has the counts where others have a hash.
pub(crate) const ENTRY: usize = 8;

/// The entries of a node, checked.
pub(crate) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many.
    pub count: usize,
    /// How many there is room for.
    pub limit: usize,
}

impl<'a> Table<'a> {
    /// The entries of a node.
    pub(crate) fn parse(geometry: &Geometry, bytes: &'a [u8], is_root: bool) -> Result<Self> {
        let at = if is_root { ROOT_ENTRIES } else { NODE_ENTRIES };
        let counts = u32_at(bytes, at)?;
        let (limit, count) = ((counts & 0xffff) as usize, (counts >> 16) as usize);
        let tail = if geometry.metadata_csum() { ENTRY } else { 0 };
        if limit != (bytes.len() - at - tail) / ENTRY || count == 0 || count > limit {
            return Err(Error::Corrupt("the counts of a directory's index"));
        }
        Ok(Self { bytes, at, count, limit })
    }

    /// The smallest hash below an entry. That of the first is not kept.
    pub(crate) fn hash(&self, index: usize) -> Result<u32> {
        if index == 0 { Ok(0) } else { u32_at(self.bytes, self.at + index * ENTRY) }
    }

    /// The block of the directory that an entry leads to.
    pub(crate) fn child(&self, index: usize) -> Result<u32> {
        Ok(u32_at(self.bytes, self.at + index * ENTRY + 4)? & 0x0fff_ffff)
    }

    /// The last entry whose hash is not above `hash`.
    fn find(&self, hash: u32) -> Result<usize> {
        let (mut low, mut high) = (1, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.hash(middle)? <= hash {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low - 1)
    }
}

/// Where the checksum of a node is, and what it should be.
pub(crate) fn checksum(bytes: &[u8], seed: u32, is_root: bool) -> Result<(usize, u32)> {
    let at = if is_root { ROOT_ENTRIES } else { NODE_ENTRIES };
    let counts = u32_at(bytes, at)?;
    let (limit, count) = ((counts & 0xffff) as usize, (counts >> 16) as usize);
    let tail = at + limit * ENTRY;
    if count > limit {
        return Err(Error::Corrupt("the counts of a directory's index"));
    }
    let sum = crc32c(seed, &[part(bytes, 0, at + count * ENTRY)?, part(bytes, tail, 4)?, &[0; 4]]);
    Ok((tail + 4, sum))
}

/// A node on the way to a leaf, and which of its entries leads on.
pub(crate) struct Step {
    /// The block of the directory.
    pub number: u32,
    /// Which entry.
    pub index: usize,
}

/// The way to a leaf.
pub(crate) struct Path {
    /// From the root on.
    pub steps: Vec<Step>,
    /// What hashes this directory.
    pub hasher: Hasher,
    /// The hash that was looked for.
    pub hash: u32,
    /// The leaf: a block of the directory.
    pub leaf: u32,
}

/// The way to the first leaf that may have a name. `None` if the hash is one that this crate does not know.
pub(crate) fn path<D: BlockDevice>(volume: &mut Ext4<D>, inode: &Inode, name: &[u8]) -> Result<Option<Path>> {
    let root = volume.directory_block(inode, 0)?;
    let info = part(&root, INFO, 8)?;
    let &[0, 0, 0, 0, version, 8, levels, unused] = info else {
        return Err(Error::Corrupt("the root of a directory's index"));
    };
    let most = if volume.geometry.incompat & incompat::LARGEDIR != 0 { 2 } else { 1 };
    if levels > most || unused & 1 != 0 {
        return Err(Error::Corrupt("the depth of a directory's index"));
    }
    let (unsigned, seed) = (volume.geometry.unsigned_hash, volume.geometry.hash_seed);
    let Some(hasher) = Hasher::new(version, unsigned, seed) else { return Ok(None) };
    let hash = hasher.hash(name);
    let mut steps = Vec::new();
    let mut number = 0;
    for level in 0..=levels {
        let bytes = volume.directory_block(inode, number)?;
        let table = Table::parse(&volume.geometry, &bytes, level == 0)?;
        let index = table.find(hash)?;
        steps.push(Step { number, index });
        number = table.child(index)?;
    }
    Ok(Some(Path { steps, hasher, hash, leaf: number }))
}

fn table_bytes<D: BlockDevice>(volume: &mut Ext4<D>, inode: &Inode, step: &Step) -> Result<Block> {
    volume.directory_block(inode, step.number)
}

impl Path {
    /// Goes on to the next leaf, if names with the same hash may be in it.
    fn advance<D: BlockDevice>(&mut self, volume: &mut Ext4<D>, inode: &Inode) -> Result<bool> {
        // The lowest node with an entry behind the one that was taken.
        let mut level = self.steps.len();
        let mut number = loop {
            let Some(up) = level.checked_sub(1) else { return Ok(false) };
            let Some(step) = self.steps.get_mut(up) else { return Ok(false) };
            let bytes = table_bytes(volume, inode, step)?;
            let table = Table::parse(&volume.geometry, &bytes, up == 0)?;
            if step.index + 1 < table.count {
                step.index += 1;
                if table.hash(step.index)? & !1 != self.hash {
                    return Ok(false);
                }
                break table.child(step.index)?;
            }
            level = up;
        };
        for step in self.steps.iter_mut().skip(level) {
            *step = Step { number, index: 0 };
            let bytes = table_bytes(volume, inode, step)?;
            number = Table::parse(&volume.geometry, &bytes, false)?.child(0)?;
        }
        self.leaf = number;
        Ok(true)
    }
}

/// Where a name is. `None` if the index cannot say, since its hash is unknown.
pub(crate) fn find<D: BlockDevice>(
    volume: &mut Ext4<D>,
    inode: &Inode,
    name: &[u8],
) -> Result<Option<Option<EntryPlace>>> {
    let Some(mut path) = path(volume, inode, name)? else { return Ok(None) };
    // A sound tree has each leaf once.
    for _ in 0..volume.geometry.directory_blocks(inode) {
        if let Some(place) = volume.find_in_block(inode, path.leaf, name)? {
            return Ok(Some(Some(place)));
        }
        if !path.advance(volume, inode)? {
            return Ok(Some(None));
        }
    }
    Err(Error::Corrupt("a directory's index that goes round"))
}
