// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees of extents, as they are read. Source: Linux `Documentation/filesystems/ext4/ifork.rst`, "Extent Tree".

use crate::{
    buffers::Checked,
    checksum::crc32c,
    device::BlockDevice,
    error::{Error, Result},
    geometry::Geometry,
    inode::Inode,
    layout::{RawExtent, RawExtentHeader, RawExtentIndex, part, u32_at, view},
    run::{Place, Run},
    volume::Ext4,
};

const MAGIC: u16 = 0xf30a;
/// A tree with full nodes of 1024 bytes and 2³² blocks has fewer levels.
pub(crate) const DEEPEST: u16 = 5;
/// The longest extent; a longer `len` says that it is not yet written, and is larger by this.
pub(crate) const LONGEST: u16 = 1 << 15;
/// Bytes of a header, an extent and an entry of an inner node.
pub(crate) const ENTRY: usize = 12;

/// An extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Its first block in the file.
    pub block: u32,
    /// Blocks: 1 to 32768, or 32767 if it is not written.
    pub len: u16,
    /// Its first block on the disk.
    pub start: u64,
    /// Whether it reads as what is on the disk.
    pub written: bool,
}

impl Extent {
    fn parse(raw: &RawExtent) -> Self {
        let (len, written) = match raw.len.get() {
            len if len > LONGEST => (len - LONGEST, false),
            len => (len, true),
        };
        Self {
            block: raw.block.get(),
            len,
            start: (u64::from(raw.start_hi.get()) << 32) | u64::from(raw.start_lo.get()),
            written,
        }
    }

    /// The block of the file behind it.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.block) + u64::from(self.len)
    }
}

/// A node: its depth and its entries, all of which were checked.
pub(crate) struct Node<'a> {
    bytes: &'a [u8],
    /// 0 for a leaf.
    pub depth: u16,
    /// How many.
    pub entries: usize,
    /// How many there is room for.
    pub max: usize,
}

impl<'a> Node<'a> {
    /// A node in `bytes`, whose header was checked.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let header: &RawExtentHeader = view(bytes, 0)?;
        let (entries, max) = (usize::from(header.entries.get()), usize::from(header.max.get()));
        let depth = header.depth.get();
        let room = bytes.len() / ENTRY - 1;
        if header.magic.get() != MAGIC || entries > max || max > room || max == 0 || depth > DEEPEST {
            return Err(Error::Corrupt("the header of extents"));
        }
        Ok(Self { bytes, depth, entries, max })
    }

    /// An extent of a leaf.
    pub(crate) fn extent(&self, index: usize) -> Result<Extent> {
        view::<RawExtent>(self.bytes, ENTRY * (1 + index)).map(Extent::parse)
    }

    /// The first block and the child of an inner node's entry.
    pub(crate) fn child(&self, index: usize) -> Result<(u32, u64)> {
        let raw: &RawExtentIndex = view(self.bytes, ENTRY * (1 + index))?;
        Ok((raw.block.get(), (u64::from(raw.leaf_hi.get()) << 32) | u64::from(raw.leaf_lo.get())))
    }

    /// The first block of any entry: both kinds start with it.
    pub(crate) fn key(&self, index: usize) -> Result<u32> {
        u32_at(self.bytes, ENTRY * (1 + index))
    }

    /// The last entry that starts at `block` or before.
    pub(crate) fn find(&self, block: u32) -> Result<Option<usize>> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle)? <= block {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1))
    }

    /// What must be true of each node: entries in order, none over the next, all on the disk.
    fn check(&self, geometry: &Geometry) -> Result<()> {
        if self.depth > 0 && self.entries == 0 {
            return Err(Error::Corrupt("an inner node of extents without entries"));
        }
        let mut next = 0;
        for index in 0..self.entries {
            let (block, end, place, count) = if self.depth == 0 {
                let extent = self.extent(index)?;
                (u64::from(extent.block), extent.end(), extent.start, u64::from(extent.len))
            } else {
                let (block, child) = self.child(index)?;
                (u64::from(block), u64::from(block) + 1, child, 1)
            };
            if block < next || count == 0 || end > 1 << 32 || !geometry.is_data(place, count) {
                return Err(Error::Corrupt("an extent"));
            }
            next = end;
        }
        Ok(())
    }
}

/// Checks the node in an inode.
pub(crate) fn root<'a>(geometry: &Geometry, inode: &'a Inode) -> Result<Node<'a>> {
    let node = Node::parse(inode.block_field())?;
    node.check(geometry)?;
    Ok(node)
}

/// Checks the node in a block.
fn check_block(geometry: &Geometry, seed: u32, depth: u16, bytes: &[u8]) -> Result<()> {
    let node = Node::parse(bytes)?;
    if node.depth != depth {
        return Err(Error::Corrupt("the depth of extents"));
    }
    if geometry.checks() {
        let tail = ENTRY * (1 + node.max);
        if crc32c(seed, &[part(bytes, 0, tail)?]) != u32_at(bytes, tail)? {
            return Err(Error::Corrupt("the checksum of extents"));
        }
    }
    node.check(geometry)
}

/// A child of a node, checked.
pub(crate) fn read_node<D: BlockDevice>(
    volume: &mut Ext4<D>,
    inode: u32,
    seed: u32,
    block: u64,
    depth: u16,
) -> Result<crate::buffers::Block> {
    let geometry = &volume.geometry;
    volume.buffers.read_checked(block, Checked::Extents(inode, depth), |bytes| {
        check_block(geometry, seed, depth, bytes)
    })
}

/// The run that `first` is in, from there on.
pub(crate) fn map<D: BlockDevice>(
    volume: &mut Ext4<D>,
    inode: &Inode,
    first: u32,
    count: u32,
) -> Result<Run> {
    let mut block = None;
    // The first block that belongs to the next node.
    let mut limit = (1_u64 << 32).min(u64::from(first) + u64::from(count));
    let mut depth = root(&volume.geometry, inode)?.depth;
    loop {
        let bytes;
        let node = match block {
            None => Node::parse(inode.block_field())?,
            Some(block) => {
                bytes = read_node(volume, inode.number(), inode.seed, block, depth)?;
                Node::parse(&bytes)?
            }
        };
        let found = node.find(first)?;
        let next = found.map_or(0, |index| index + 1);
        if next < node.entries {
            limit = limit.min(u64::from(node.key(next)?));
        }
        let hole = Run { first, count: (limit - u64::from(first)) as u32, place: Place::Hole };
        let Some(index) = found else { return Ok(hole) };
        if depth == 0 {
            let extent = node.extent(index)?;
            if u64::from(first) >= extent.end() {
                return Ok(hole);
            }
            let start = extent.start + u64::from(first - extent.block);
            let count = (extent.end().min(limit) - u64::from(first)) as u32;
            let place = if extent.written { Place::Written(start) } else { Place::Unwritten(start) };
            return Ok(Run { first, count, place });
        }
        block = Some(node.child(index)?.1);
        depth -= 1;
    }
}
