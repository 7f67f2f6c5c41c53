// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees of extents as they are changed. Leaves and inner nodes are split and emptied alike, since their entries have one size and both
//! start with the first block that they are about; an entry's key above is always that of its node's first entry, as e2fsck wants.

use alloc::vec::Vec;

use crate::{
    buffers::Checked,
    checksum::crc32c,
    device::BlockDevice,
    error::{Error, Result},
    extents::{DEEPEST, ENTRY, Extent, LONGEST, Node, read_node, root},
    inode::{Inode, kind},
    layout::{RawExtent, RawExtentHeader, RawExtentIndex, copied, part, part_mut, view_mut},
    volume::Ext4,
};

/// Blocks of metadata that are given back at once.
const METADATA_STEP: u64 = 64;
/// Entries in an inode.
const ROOT_ENTRIES: usize = 4;

/// A node on the way to a leaf.
struct Level {
    /// Its block; none for the one in the inode.
    block: Option<u64>,
    entries: usize,
    max: usize,
    depth: u16,
    /// The last entry that starts where it was looked for or before; for inner nodes, the one that leads on.
    index: Option<usize>,
}

/// An entry's bytes.
type Entry = [u8; ENTRY];

fn leaf_entry(extent: &Extent) -> Result<Entry> {
    let mut bytes = [0; ENTRY];
    let raw: &mut RawExtent = view_mut(&mut bytes, 0)?;
    raw.block.set(extent.block);
    raw.len.set(if extent.written { extent.len } else { extent.len + LONGEST });
    raw.start_hi.set((extent.start >> 32) as u16);
    raw.start_lo.set(extent.start as u32);
    Ok(bytes)
}

fn inner_entry(key: u32, block: u64) -> Result<Entry> {
    let mut bytes = [0; ENTRY];
    let raw: &mut RawExtentIndex = view_mut(&mut bytes, 0)?;
    raw.block.set(key);
    raw.leaf_lo.set(block as u32);
    raw.leaf_hi.set((block >> 32) as u16);
    Ok(bytes)
}

fn key_of(entry: &[u8]) -> u32 {
    entry.first_chunk().map_or(0, |key| u32::from_le_bytes(*key))
}

/// Makes a node's header.
pub(crate) fn write_header(bytes: &mut [u8], entries: usize, max: usize, depth: u16) -> Result<()> {
    let raw: &mut RawExtentHeader = view_mut(bytes, 0)?;
    raw.magic.set(0xf30a);
    raw.entries.set(entries as u16);
    raw.max.set(max as u16);
    raw.depth.set(depth);
    Ok(())
}

/// Makes an inode's tree an empty one.
pub(crate) fn start(inode: &mut Inode) -> Result<()> {
    inode.block_field_mut().fill(0);
    write_header(inode.block_field_mut(), 0, ROOT_ENTRIES, 0)
}

/// The longest extent of its kind.
fn longest(written: bool) -> u32 {
    u32::from(if written { LONGEST } else { LONGEST - 1 })
}

/// A tree that is changed, with its inode, which the caller stores.
pub(crate) struct Tree<'a, D> {
    pub volume: &'a mut Ext4<D>,
    pub inode: &'a mut Inode,
}

impl<D: BlockDevice> Tree<'_, D> {
    fn node_max(&self) -> usize {
        self.volume.geometry.block_bytes() / ENTRY - 1
    }

    fn descend(&mut self, block: u32) -> Result<Vec<Level>> {
        let node = root(&self.volume.geometry, self.inode)?;
        let mut path = Vec::new();
        let mut depth = node.depth;
        let mut next = None;
        loop {
            let bytes;
            let node = match next {
                None => Node::parse(self.inode.block_field())?,
                Some(block) => {
                    bytes = read_node(self.volume, self.inode.number(), self.inode.seed, block, depth)?;
                    Node::parse(&bytes)?
                }
            };
            let mut index = node.find(block)?;
            if depth > 0 {
                index = index.or(Some(0));
            }
            path.push(Level { block: next, entries: node.entries, max: node.max, depth, index });
            if depth == 0 {
                return Ok(path);
            }
            next = Some(node.child(index.unwrap_or(0))?.1);
            depth -= 1;
        }
    }

    /// A node's bytes, to be changed.
    fn bytes(&mut self, level: &Level) -> Result<&mut [u8]> {
        match level.block {
            None => Ok(self.inode.block_field_mut()),
            Some(block) => Ok(self.volume.buffers.modify(block)?),
        }
    }

    /// Gives a node its checksum.
    fn seal(&mut self, block: Option<u64>) -> Result<()> {
        let Some(block) = block else { return Ok(()) };
        if !self.volume.geometry.metadata_csum() {
            return Ok(());
        }
        let seed = self.inode.seed;
        let bytes = self.volume.buffers.modify(block)?;
        let tail = ENTRY * (1 + Node::parse(bytes)?.max);
        let sum = crc32c(seed, &[part(bytes, 0, tail)?]);
        part_mut(bytes, tail, 4)?.copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    /// Writes entries from `at` on; the node has `entries` then.
    fn put(&mut self, level: &Level, at: usize, content: &[u8], entries: usize) -> Result<()> {
        let (max, depth) = (level.max, level.depth);
        let bytes = self.bytes(level)?;
        part_mut(bytes, ENTRY * (1 + at), content.len())?.copy_from_slice(content);
        write_header(bytes, entries, max, depth)?;
        self.seal(level.block)
    }

    /// Entries from `from` on, before `to`.
    fn take(&mut self, level: &Level, from: usize, to: usize) -> Result<Vec<u8>> {
        let bytes = self.bytes(level)?;
        copied(part(bytes, ENTRY * (1 + from), ENTRY * to.saturating_sub(from))?)
    }

    /// The first entry of a node has a new key: those above say so.
    fn fix_keys(&mut self, path: &[Level], level: usize, key: u32) -> Result<()> {
        for above in path.get(..level).unwrap_or_default().iter().rev() {
            let index = above.index.unwrap_or(0);
            part_mut(self.bytes(above)?, ENTRY * (1 + index), 4)?.copy_from_slice(&key.to_le_bytes());
            self.seal(above.block)?;
            if index != 0 {
                break;
            }
        }
        Ok(())
    }

    fn new_node(&mut self, near: u64, depth: u16) -> Result<u64> {
        let (block, _) = self.volume.allocate_blocks(near, 1)?;
        self.volume.buffers.create(block, Checked::Extents(self.inode.number(), depth))?;
        self.volume.add_blocks(self.inode, 1)?;
        Ok(block)
    }

    fn insert_entry(
        &mut self,
        path: &mut Vec<Level>,
        level: usize,
        at: usize,
        entry: &Entry,
        near: u64,
    ) -> Result<()> {
        let Some(node) = path.get(level) else {
            return Err(Error::Corrupt("a tree of extents without a root"));
        };
        let (entries, max, depth, block) = (node.entries, node.max, node.depth, node.block);
        if entries < max {
            let mut content = copied(entry)?;
            content.extend_from_slice(&self.take(node, at, entries)?);
            self.put(node, at, &content, entries + 1)?;
            if at == 0 {
                self.fix_keys(path, level, key_of(entry))?;
            }
            return Ok(());
        }
        let all = self.take(node, 0, entries)?;
        if level == 0 {
            // What was in the inode moves to a block, which is split there if it has to be.
            if depth >= DEEPEST {
                return Err(Error::NoSpace);
            }
            let child = self.new_node(near, depth)?;
            let below = Level { block: Some(child), entries, max: self.node_max(), depth, index: node.index };
            self.put(&below, 0, &all, entries)?;
            let top = Level { block: None, entries: 1, max: ROOT_ENTRIES, depth: depth + 1, index: Some(0) };
            self.put(&top, 0, &inner_entry(key_of(&all), child)?, 1)?;
            path.remove(0);
            path.insert(0, below);
            path.insert(0, top);
            return self.insert_entry(path, 1, at, entry, near);
        }
        // At the end nothing moves: files grow there, and full nodes stay full.
        let keep = if at == entries { entries } else { entries / 2 };
        let mut moved = copied(part(&all, keep * ENTRY, (entries - keep) * ENTRY)?)?;
        let mut old = Level { block, entries: keep, max, depth, index: None };
        if at > keep || at == entries {
            let at = (at - keep) * ENTRY;
            let behind = moved.split_off(at);
            moved.extend_from_slice(entry);
            moved.extend_from_slice(&behind);
            self.put(&old, 0, &[], keep)?;
        } else {
            let mut content = copied(entry)?;
            content.extend_from_slice(part(&all, at * ENTRY, (keep - at) * ENTRY)?);
            old.entries = keep + 1;
            self.put(&old, at, &content, keep + 1)?;
            if at == 0 {
                self.fix_keys(path, level, key_of(entry))?;
            }
        }
        let sibling = self.new_node(near, depth)?;
        let count = moved.len() / ENTRY;
        let new = Level { block: Some(sibling), entries: count, max: self.node_max(), depth, index: None };
        self.put(&new, 0, &moved, count)?;
        let above = path.get(level - 1).and_then(|above| above.index).unwrap_or(0);
        self.insert_entry(path, level - 1, above + 1, &inner_entry(key_of(&moved), sibling)?, near)
    }

    /// Adds an extent where there is a hole.
    pub(crate) fn insert(&mut self, extent: &Extent) -> Result<()> {
        let mut path = self.descend(extent.block)?;
        let level = path.len() - 1;
        let Some(leaf) = path.last() else { return Err(Error::Corrupt("a tree of extents without a leaf")) };
        let at = leaf.index.map_or(0, |index| index + 1);
        let (before, after) = (self.extent_at(leaf, leaf.index)?, self.extent_at(leaf, Some(at))?);
        if before.is_some_and(|it| it.end() > u64::from(extent.block))
            || after.is_some_and(|it| u64::from(it.block) < extent.end())
        {
            return Err(Error::Corrupt("two extents for one block"));
        }
        let joins = |one: &Extent, two: &Extent| {
            one.written == two.written
                && one.end() == u64::from(two.block)
                && one.start + u64::from(one.len) == two.start
                && u32::from(one.len) + u32::from(two.len) <= longest(one.written)
        };
        if let Some(before) = before.filter(|before| joins(before, extent)) {
            let mut whole = Extent { len: before.len + extent.len, ..before };
            // What lay between two extents may have been all that kept them apart.
            let closes = after.filter(|after| joins(&whole, after));
            if let Some(after) = closes {
                whole.len += after.len;
            }
            self.put(leaf, at - 1, &leaf_entry(&whole)?, leaf.entries)?;
            if closes.is_some() {
                self.delete_entry(&path, level, at)?;
            }
            return Ok(());
        }
        if let Some(after) = after.filter(|after| joins(extent, after)) {
            let whole = Extent { len: extent.len + after.len, ..*extent };
            self.put(leaf, at, &leaf_entry(&whole)?, leaf.entries)?;
            return if at == 0 { self.fix_keys(&path, level, whole.block) } else { Ok(()) };
        }
        self.insert_entry(&mut path, level, at, &leaf_entry(extent)?, extent.start)
    }

    fn extent_at(&mut self, leaf: &Level, index: Option<usize>) -> Result<Option<Extent>> {
        let Some(index) = index.filter(|index| *index < leaf.entries) else { return Ok(None) };
        match leaf.block {
            None => Node::parse(self.inode.block_field())?.extent(index).map(Some),
            Some(block) => Node::parse(&self.volume.buffers.read(block)?)?.extent(index).map(Some),
        }
    }

    fn delete_entry(&mut self, path: &[Level], level: usize, index: usize) -> Result<()> {
        let Some(node) = path.get(level) else {
            return Err(Error::Corrupt("a tree of extents without a root"));
        };
        let left = node.entries - 1;
        if left == 0 && level > 0 {
            if let Some(block) = node.block {
                self.volume.free_metadata(block)?;
                self.volume.add_blocks(self.inode, -1)?;
            }
            let above = path.get(level - 1).and_then(|above| above.index).unwrap_or(0);
            return self.delete_entry(path, level - 1, above);
        }
        if left == 0 {
            return start(self.inode);
        }
        let behind = self.take(node, index + 1, node.entries)?;
        self.put(node, index, &behind, left)?;
        if index == 0 {
            return self.fix_keys(path, level, key_of(&behind));
        }
        Ok(())
    }

    /// Takes the blocks from `from` on, before `to`, out of the tree, from the end on, and gives them back if `free` says so. At most `budget`
    /// extents: false if there may be more.
    pub(crate) fn remove(&mut self, from: u64, to: u64, free: bool, budget: u32) -> Result<bool> {
        for _ in 0..budget {
            let Some(last) = to.checked_sub(1).filter(|_| to > from) else { return Ok(true) };
            let path = self.descend(u32::try_from(last).unwrap_or(u32::MAX))?;
            let level = path.len() - 1;
            let Some(leaf) = path.last() else { return Ok(true) };
            let Some(index) = leaf.index else { return Ok(true) };
            let Some(old) = self.extent_at(leaf, Some(index))? else { return Ok(true) };
            if old.end() <= from {
                return Ok(true);
            }
            // Each block of metadata that is freed is remembered, so these go a few at a time.
            let is_data = self.inode.kind() == kind::REGULAR || !free;
            let first =
                if is_data { from } else { from.max(old.end().min(to).saturating_sub(METADATA_STEP)) };
            let head = first.saturating_sub(u64::from(old.block)) as u16;
            let tail = old.end().saturating_sub(to) as u16;
            let gone = old.len - head - tail;
            let rest = Extent {
                block: old.block + u32::from(head + gone),
                len: tail,
                start: old.start + u64::from(head + gone),
                written: old.written,
            };
            match (head, tail) {
                (0, 0) => self.delete_entry(&path, level, index)?,
                (0, _) => {
                    self.put(leaf, index, &leaf_entry(&rest)?, leaf.entries)?;
                    if index == 0 {
                        self.fix_keys(&path, level, rest.block)?;
                    }
                }
                (_, _) => {
                    self.put(leaf, index, &leaf_entry(&Extent { len: head, ..old })?, leaf.entries)?;
                    if tail > 0 {
                        self.insert(&rest)?;
                    }
                }
            }
            if free {
                self.volume.free_blocks(old.start + u64::from(head), u64::from(gone))?;
                self.volume.add_blocks(self.inode, -i64::from(gone))?;
                // Content of directories and links is in the journal.
                if !is_data {
                    for index in 0..u64::from(gone) {
                        self.volume.buffers.forget(old.start + u64::from(head) + index);
                    }
                }
            }
        }
        Ok(false)
    }
}
