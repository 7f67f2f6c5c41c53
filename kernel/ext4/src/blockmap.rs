// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block numbers of ext2 and ext3: twelve in the inode, then blocks of numbers, up to three levels deep.
//! Source: Linux `Documentation/filesystems/ext4/ifork.rst`, "Direct/Indirect Block Addressing".

use crate::{
    device::BlockDevice,
    error::{Error, Result},
    inode::Inode,
    layout::u32_at,
    run::{Place, Run},
    volume::Ext4,
};

/// Numbers in the inode that lead to a block of the file.
const DIRECT: u32 = 12;

/// Where a block's number is: its index in the inode, levels of blocks of numbers in between, and its index below the first of those.
fn path(first: u32, per_block: u64) -> Result<(usize, u32, u64)> {
    if first < DIRECT {
        return Ok((first as usize, 0, 0));
    }
    let mut below = u64::from(first - DIRECT);
    let mut span = per_block;
    for level in 1..=3 {
        if below < span {
            return Ok((DIRECT as usize + level as usize - 1, level, below));
        }
        below -= span;
        span *= per_block;
    }
    Err(Error::TooLarge)
}

/// The run that `first` is in, from there on, as far as the block of numbers goes.
pub(crate) fn map<D: BlockDevice>(
    volume: &mut Ext4<D>,
    inode: &Inode,
    first: u32,
    count: u32,
) -> Result<Run> {
    let per_block = u64::from(volume.geometry.block_size / 4);
    let (slot, mut level, mut below) = path(first, per_block)?;
    if level == 0 {
        return collect(volume, inode.block_field(), slot, DIRECT as usize, first, count);
    }
    let mut number = u64::from(u32_at(inode.block_field(), slot * 4)?);
    loop {
        let span = per_block.pow(level - 1);
        if number == 0 {
            let rest = span * per_block - below;
            return Ok(Run { first, count: rest.min(u64::from(count)) as u32, place: Place::Hole });
        }
        if !volume.geometry.is_data(number, 1) {
            return Err(Error::Corrupt("a block of numbers behind the end"));
        }
        let bytes = volume.buffers.read(number)?;
        let index = (below / span) as usize;
        if level == 1 {
            return collect(volume, &bytes, index, per_block as usize, first, count);
        }
        number = u64::from(u32_at(&bytes, index * 4)?);
        below %= span;
        level -= 1;
        if number == 0 {
            let rest = per_block.pow(level) - below;
            return Ok(Run { first, count: rest.min(u64::from(count)) as u32, place: Place::Hole });
        }
    }
}

/// The run that starts at `index` of the numbers in `bytes`.
fn collect<D: BlockDevice>(
    volume: &Ext4<D>,
    bytes: &[u8],
    index: usize,
    end: usize,
    first: u32,
    count: u32,
) -> Result<Run> {
    let start = u32_at(bytes, index * 4)?;
    let mut len = 1;
    while len < count && index + (len as usize) < end {
        let next = u32_at(bytes, (index + len as usize) * 4)?;
        let expected = if start == 0 { Some(0) } else { start.checked_add(len) };
        if Some(next) != expected {
            break;
        }
        len += 1;
    }
    let place = if start == 0 { Place::Hole } else { Place::Written(u64::from(start)) };
    if start != 0 && !volume.geometry.is_data(u64::from(start), u64::from(len)) {
        return Err(Error::Corrupt("a file's block behind the end"));
    }
    Ok(Run { first, count: len, place })
}
