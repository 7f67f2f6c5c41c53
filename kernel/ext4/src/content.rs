// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content of files as it is changed. File data is not in the journal. A caller who writes first has blocks allocated, which belong to the file
//! then but read as zeros; writes its data into them; and then says so. Since the journal flushes the disk before it says that a transaction is
//! whole, a crash never shows blocks as written whose data was lost, or shows what somebody else had in them: `data=ordered`, for reads too.

use crate::{
    device::BlockDevice,
    error::{Error, Result},
    extents::{Extent, LONGEST},
    extents_edit::Tree,
    inode::{Inode, Time, flags, kind},
    layout::{part, part_mut, zeroed},
    orphan::STEP,
    run::{Place, Run},
    volume::Ext4,
};

/// Changes of an inode's metadata; what is none stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Permission bits.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// When it was read.
    pub accessed: Option<Time>,
    /// When its content was changed.
    pub modified: Option<Time>,
    /// When anything was changed: now.
    pub changed: Option<Time>,
}

/// Blocks of a file: those that an extent can name.
const MOST_BLOCKS: u64 = u32::MAX as u64;

impl<D: BlockDevice> Ext4<D> {
    fn file(&mut self, number: u32) -> Result<Inode> {
        let inode = self.inode_even_unlinked(number)?;
        match inode.kind() {
            kind::REGULAR => {}
            kind::DIRECTORY => return Err(Error::IsADirectory),
            _ => return Err(Error::Invalid),
        }
        if inode.has(flags::IMMUTABLE) || number < self.geometry.first_inode {
            return Err(Error::ReadOnly);
        }
        if !inode.has(flags::EXTENTS) {
            return Err(Error::Unsupported("changes of a file without extents"));
        }
        Ok(inode)
    }

    /// Changes metadata.
    pub fn change(&mut self, number: u32, change: &Change) -> Result<()> {
        self.operation(|volume| {
            let mut inode = volume.inode_even_unlinked(number)?;
            if let Some(mode) = change.mode {
                let kind = inode.kind();
                inode.set_mode(kind | mode & 0o7777);
            }
            let (uid, gid) = (change.uid.unwrap_or(inode.uid()), change.gid.unwrap_or(inode.gid()));
            inode.set_owner(uid, gid);
            if let Some(time) = change.accessed {
                inode.set_accessed(time);
            }
            if let Some(time) = change.modified {
                inode.set_modified(time);
            }
            if let Some(time) = change.changed {
                inode.set_changed(time);
            }
            volume.store(&mut inode)
        })
    }

    /// Has blocks for a file from `first` on: as many of `count` as come together. What was a hole is unwritten then.
    pub fn allocate(&mut self, number: u32, first: u32, count: u32) -> Result<Run> {
        self.operation(|volume| {
            let mut inode = volume.file(number)?;
            let run = volume.map(&inode, first, count)?;
            if run.place != Place::Hole {
                return Ok(run);
            }
            // Behind the block before, if it has a place.
            let before = match first.checked_sub(1) {
                Some(before) => volume.map(&inode, before, 1)?.place,
                None => Place::Hole,
            };
            let goal = match before {
                Place::Written(block) | Place::Unwritten(block) => block + 1,
                Place::Hole => volume.goal_for(&inode)?,
            };
            let most = run.count.min(u32::from(LONGEST) - 1);
            let (start, got) = volume.allocate_blocks(goal, most)?;
            volume.add_blocks(&mut inode, i64::from(got))?;
            let extent = Extent { block: first, len: got as u16, start, written: false };
            Tree { volume, inode: &mut inode }.insert(&extent)?;
            volume.store(&mut inode)?;
            Ok(Run { first, count: got, place: Place::Unwritten(start) })
        })
    }

    /// The data of blocks that were allocated is on the disk (or in its cache), and the file has at least `size` bytes now.
    pub fn written(&mut self, number: u32, first: u32, count: u32, size: u64, time: Time) -> Result<()> {
        self.seconds = self.seconds.max(time.seconds);
        let end = first.checked_add(count).ok_or(Error::TooLarge)?;
        let mut at = first;
        // Runs may be many, and an operation is small.
        while at < end {
            at = self.operation(|volume| {
                let mut inode = volume.file(number)?;
                let run = volume.map(&inode, at, end - at)?;
                if let Place::Unwritten(start) = run.place {
                    let (from, to) = (u64::from(run.first), u64::from(run.first) + u64::from(run.count));
                    let mut tree = Tree { volume, inode: &mut inode };
                    if !tree.remove(from, to, false, 2)? {
                        // An unwritten run is one extent.
                        tree.remove(from, to, false, 2)?;
                    }
                    let extent = Extent { block: run.first, len: run.count as u16, start, written: true };
                    tree.insert(&extent)?;
                    volume.store(&mut inode)?;
                }
                Ok(run.first + run.count)
            })?;
        }
        self.operation(|volume| {
            let mut inode = volume.file(number)?;
            if size > inode.size() {
                if size > MOST_BLOCKS * u64::from(volume.geometry.block_size) {
                    return Err(Error::TooLarge);
                }
                inode.set_size(size);
            }
            inode.set_modified(time);
            inode.set_changed(time);
            volume.store(&mut inode)
        })
    }

    /// Writes content, for callers without a page cache. The data is durable after [`Ext4::sync`].
    pub fn write(&mut self, number: u32, offset: u64, from: &[u8], time: Time) -> Result<()> {
        let size = u64::from(self.geometry.block_size);
        let end = offset.checked_add(from.len() as u64).ok_or(Error::TooLarge)?;
        if end > MOST_BLOCKS * size {
            return Err(Error::TooLarge);
        }
        let (first, last) = ((offset / size) as u32, end.div_ceil(size) as u32);
        let mut at = first;
        while at < last {
            let run = self.allocate(number, at, last - at)?;
            let (start, fresh) = match run.place {
                Place::Written(start) => (start, false),
                Place::Unwritten(start) => (start, true),
                Place::Hole => return Err(Error::Corrupt("a hole that was allocated")),
            };
            for index in 0..run.count {
                let place = u64::from(at + index) * size;
                let mut block = zeroed(size as usize)?;
                let (begin, stop) = (offset.max(place), end.min(place + size));
                let whole = stop - begin == size;
                if !whole && !fresh {
                    self.buffers.read_device(start + u64::from(index), &mut block)?;
                }
                let len = (stop - begin) as usize;
                let content = part(from, (begin - offset) as usize, len)?;
                part_mut(&mut block, (begin - place) as usize, len)?.copy_from_slice(content);
                self.buffers.write_device(start + u64::from(index), &block)?;
            }
            at += run.count;
        }
        self.written(number, first, last - first, end, time)
    }

    /// Makes a file shorter or longer; what is new reads as zeros.
    pub fn set_size(&mut self, number: u32, size: u64, time: Time) -> Result<()> {
        self.seconds = self.seconds.max(time.seconds);
        let block_size = u64::from(self.geometry.block_size);
        if size > MOST_BLOCKS * block_size {
            return Err(Error::TooLarge);
        }
        let old = self.operation(|volume| {
            let mut inode = volume.file(number)?;
            let old = inode.size();
            inode.set_size(size);
            inode.set_modified(time);
            inode.set_changed(time);
            if size < old && inode.links() > 0 {
                volume.add_orphan(&mut inode)?;
            }
            volume.store(&mut inode)?;
            Ok(old)
        })?;
        if size >= old {
            return Ok(());
        }
        self.zero_behind(number, size)?;
        self.finish_truncation(number, size)
    }

    /// The rest of the last block reads as zeros if the file grows again.
    fn zero_behind(&mut self, number: u32, size: u64) -> Result<()> {
        let block_size = u64::from(self.geometry.block_size);
        let within = (size % block_size) as usize;
        if within == 0 {
            return Ok(());
        }
        let inode = self.file(number)?;
        if let Place::Written(block) = self.map(&inode, (size / block_size) as u32, 1)?.place {
            let mut bytes = zeroed(block_size as usize)?;
            self.buffers.read_device(block, &mut bytes)?;
            bytes.get_mut(within..).unwrap_or_default().fill(0);
            self.buffers.write_device(block, &bytes)?;
        }
        Ok(())
    }

    /// Makes a hole of whole blocks.
    pub fn punch(&mut self, number: u32, first: u32, count: u32, time: Time) -> Result<()> {
        let (from, to) = (u64::from(first), u64::from(first) + u64::from(count));
        loop {
            let done = self.operation(|volume| {
                let mut inode = volume.file(number)?;
                let done = Tree { volume, inode: &mut inode }.remove(from, to, true, STEP)?;
                inode.set_modified(time);
                inode.set_changed(time);
                volume.store(&mut inode)?;
                Ok(done)
            })?;
            if done {
                return Ok(());
            }
        }
    }
}
