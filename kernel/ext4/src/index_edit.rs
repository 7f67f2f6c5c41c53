// SPDX-License-Identifier: MIT OR Apache-2.0
//! The index of a large directory as it grows: full leaves and nodes are split by hash. It never shrinks, as on Linux.

use alloc::vec::Vec;

use crate::{
    device::BlockDevice,
    directory::entries,
    directory_edit::{clear, insert as insert_entry, needed, write_entry},
    error::{Error, Result},
    features::incompat,
    geometry::Geometry,
    index::{self, ENTRY, INFO, NODE_ENTRIES, Path, ROOT_ENTRIES, Table},
    inode::{Inode, flags},
    layout::{copied, part, part_mut},
    volume::Ext4,
};

/// A name that is moved.
struct Name {
    hash: u32,
    inode: u32,
    file_type: u8,
    name: Vec<u8>,
}

/// The entries of a node: hashes and blocks of the directory.
fn table(geometry: &Geometry, bytes: &[u8], is_root: bool) -> Result<(Vec<(u32, u32)>, usize)> {
    let table = Table::parse(geometry, bytes, is_root)?;
    let mut all = Vec::new();
    for index in 0..table.count {
        all.push((table.hash(index)?, table.child(index)?));
    }
    Ok((all, table.limit))
}

/// Writes the entries of a node.
fn put_table(geometry: &Geometry, bytes: &mut [u8], is_root: bool, all: &[(u32, u32)]) -> Result<()> {
    let at = if is_root { ROOT_ENTRIES } else { NODE_ENTRIES };
    let tail = if geometry.metadata_csum() { ENTRY } else { 0 };
    let limit = (bytes.len() - at - tail) / ENTRY;
    for (index, (hash, block)) in all.iter().enumerate() {
        let first = if index == 0 { limit as u32 | ((all.len() as u32) << 16) } else { *hash };
        let entry = part_mut(bytes, at + index * ENTRY, ENTRY)?;
        part_mut(entry, 0, 4)?.copy_from_slice(&first.to_le_bytes());
        part_mut(entry, 4, 4)?.copy_from_slice(&block.to_le_bytes());
    }
    Ok(())
}

/// Gives a directory of one block an index: its names move to a second block.
pub(crate) fn start<D: BlockDevice>(volume: &mut Ext4<D>, inode: &mut Inode) -> Result<()> {
    let old = volume.directory_block(inode, 0)?;
    let parent =
        volume.find_in_block(inode, 0, b"..")?.ok_or(Error::Corrupt("a directory without a parent"))?.inode;
    let (number, block) = volume.append_block(inode)?;
    let end = volume.geometry.entries_end();
    let bytes = volume.buffers.modify(block)?;
    for found in entries(part(&old, 0, end)?, 0) {
        let found = found?;
        if found.inode != 0 && !matches!(found.name, b"." | b"..") {
            insert_entry(part_mut(bytes, 0, end)?, found.inode, found.name, found.file_type)?;
        }
    }
    volume.seal_directory_block(inode, number, block)?;
    let version = if volume.geometry.hash_version <= 2 { volume.geometry.hash_version } else { 1 };
    let dot_type = if volume.geometry.incompat & incompat::FILETYPE == 0 { 0 } else { 2 };
    let own = inode.number();
    let (block, root) = volume.change_block(inode, 0)?;
    root.fill(0);
    let size = root.len();
    write_entry(root, 0, 12, own, b".", dot_type)?;
    write_entry(root, 12, size - 12, parent, b"..", dot_type)?;
    part_mut(root, INFO, 8)?.copy_from_slice(&[0, 0, 0, 0, version, 8, 0, 0]);
    put_table(&volume.geometry, volume.buffers.modify(block)?, true, &[(0, number)])?;
    inode.set_flag(flags::INDEX);
    volume.seal_directory_block(inode, 0, block)
}

/// Adds a name.
pub(crate) fn insert<D: BlockDevice>(
    volume: &mut Ext4<D>,
    inode: &mut Inode,
    name: &[u8],
    target: u32,
    file_type: u8,
) -> Result<()> {
    // Each round splits one block: a leaf, and before it at most each node above.
    for _ in 0..8 {
        let path = index::path(volume, inode, name)?;
        let path = path.ok_or(Error::Unsupported("changes of a directory with an unknown hash"))?;
        if volume.insert_in_block(inode, path.leaf, name, target, file_type)? {
            return Ok(());
        }
        split(volume, inode, &path)?;
    }
    Err(Error::NoSpace)
}

/// Splits the leaf, or, if the node above it is full, the highest node that must be split first.
fn split<D: BlockDevice>(volume: &mut Ext4<D>, inode: &mut Inode, path: &Path) -> Result<()> {
    let mut full = None;
    for (level, step) in path.steps.iter().enumerate().rev() {
        let bytes = volume.directory_block(inode, step.number)?;
        let table = Table::parse(&volume.geometry, &bytes, level == 0)?;
        if table.count < table.limit {
            break;
        }
        full = Some(level);
    }
    match full {
        None => split_leaf(volume, inode, path),
        Some(0) => grow(volume, inode, path),
        Some(level) => split_node(volume, inode, path, level),
    }
}

/// Adds an entry to the node at `level`, behind the one that was taken.
fn add_to_table<D: BlockDevice>(
    volume: &mut Ext4<D>,
    inode: &Inode,
    path: &Path,
    level: usize,
    entry: (u32, u32),
) -> Result<()> {
    let step = path.steps.get(level).ok_or(Error::Corrupt("a directory's index"))?;
    let (block, bytes) = volume.change_block(inode, step.number)?;
    let bytes = copied(bytes)?;
    let (mut all, _) = table(&volume.geometry, &bytes, level == 0)?;
    all.insert(step.index + 1, entry);
    put_table(&volume.geometry, volume.buffers.modify(block)?, level == 0, &all)?;
    volume.seal_directory_block(inode, step.number, block)
}

/// The root's entries move to a node of their own.
fn grow<D: BlockDevice>(volume: &mut Ext4<D>, inode: &mut Inode, path: &Path) -> Result<()> {
    let most = if volume.geometry.incompat & incompat::LARGEDIR != 0 { 3 } else { 2 };
    if path.steps.len() >= most {
        return Err(Error::NoSpace);
    }
    let bytes = volume.directory_block(inode, 0)?;
    let (all, _) = table(&volume.geometry, &bytes, true)?;
    drop(bytes);
    let number = new_node(volume, inode, &all)?;
    let (block, _) = volume.change_block(inode, 0)?;
    let root = volume.buffers.modify(block)?;
    put_table(&volume.geometry, root, true, &[(0, number)])?;
    part_mut(root, INFO + 6, 1)?.fill(path.steps.len() as u8);
    volume.seal_directory_block(inode, 0, block)
}

/// A new node with these entries.
fn new_node<D: BlockDevice>(volume: &mut Ext4<D>, inode: &mut Inode, all: &[(u32, u32)]) -> Result<u32> {
    let (number, block) = volume.append_block(inode)?;
    let node = volume.buffers.modify(block)?;
    node.fill(0);
    let size = node.len();
    write_entry(node, 0, size, 0, b"", 0)?;
    put_table(&volume.geometry, node, false, all)?;
    volume.seal_directory_block(inode, number, block)?;
    Ok(number)
}

/// Half of a node's entries move to a new one.
fn split_node<D: BlockDevice>(
    volume: &mut Ext4<D>,
    inode: &mut Inode,
    path: &Path,
    level: usize,
) -> Result<()> {
    let step = path.steps.get(level).ok_or(Error::Corrupt("a directory's index"))?;
    let bytes = volume.directory_block(inode, step.number)?;
    let (all, _) = table(&volume.geometry, &bytes, false)?;
    drop(bytes);
    let (stay, go) = all.split_at(all.len() / 2);
    let number = new_node(volume, inode, go)?;
    let (block, _) = volume.change_block(inode, step.number)?;
    put_table(&volume.geometry, volume.buffers.modify(block)?, false, stay)?;
    volume.seal_directory_block(inode, step.number, block)?;
    let hash = go.first().map_or(0, |first| first.0);
    add_to_table(volume, inode, path, level - 1, (hash, number))
}

/// The names with the larger hashes move to a new leaf.
fn split_leaf<D: BlockDevice>(volume: &mut Ext4<D>, inode: &mut Inode, path: &Path) -> Result<()> {
    let end = volume.geometry.entries_end();
    let bytes = volume.directory_block(inode, path.leaf)?;
    let mut names = Vec::new();
    for found in entries(part(&bytes, 0, end)?, 0) {
        let found = found?;
        if found.inode != 0 {
            let hash = path.hasher.hash(found.name);
            names.push(Name {
                hash,
                inode: found.inode,
                file_type: found.file_type,
                name: copied(found.name)?,
            });
        }
    }
    drop(bytes);
    names.sort_by_key(|name| name.hash);
    let total: usize = names.iter().map(|name| needed(&name.name)).sum();
    let mut kept = 0;
    let middle = names.iter().take_while(|name| {
        kept += needed(&name.name);
        kept <= total / 2
    });
    let middle = middle.count().max(1);
    if path.leaf == 0 || middle >= names.len() {
        return Err(Error::Corrupt("a leaf of a directory's index that cannot be split"));
    }
    let (stay, go) = names.split_at(middle);
    let hash = go.first().map_or(0, |first| first.hash);
    // An odd hash says that names with the same one are in the leaf before, too.
    let goes_on = stay.last().is_some_and(|last| last.hash == hash);
    let (number, block) = volume.append_block(inode)?;
    fill(volume, inode, number, block, go)?;
    let (block, _) = volume.change_block(inode, path.leaf)?;
    fill(volume, inode, path.leaf, block, stay)?;
    add_to_table(volume, inode, path, path.steps.len() - 1, (hash | u32::from(goes_on), number))
}

/// Makes a leaf one with these names alone.
fn fill<D: BlockDevice>(
    volume: &mut Ext4<D>,
    inode: &Inode,
    number: u32,
    block: u64,
    names: &[Name],
) -> Result<()> {
    let end = volume.geometry.entries_end();
    let bytes = volume.buffers.modify(block)?;
    clear(&volume.geometry, bytes)?;
    for name in names {
        insert_entry(part_mut(bytes, 0, end)?, name.inode, &name.name, name.file_type)?;
    }
    volume.seal_directory_block(inode, number, block)
}
