// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounting: what is checked first, and what is written to.

use alloc::vec::Vec;

use crate::{
    buffers::Buffers,
    device::BlockDevice,
    error::{Error, Result},
    features::{self, incompat},
    geometry::{Geometry, ROOT},
    inode::kind,
    journal::{
        format::{Format, be32, feature, field},
        log::Log,
        place::Blocks,
        recovery::{self, Recovered},
    },
    layout::{part, zeroed},
    run::Place,
    volume::Ext4,
};

/// Blocks of a transaction that the largest operation fits into.
const SMALLEST_JOURNAL: u32 = 200;

/// How an image is mounted.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Nothing is written.
    pub read_only: bool,
    /// Checksums of metadata are compared. Without, a flipped bit may go unseen, but is no more dangerous: for tests and rescue.
    pub verify: bool,
    /// Blocks of metadata that stay in memory although nobody uses them.
    pub cached_blocks: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { read_only: false, verify: true, cached_blocks: 1024 }
    }
}

impl<D: BlockDevice> Ext4<D> {
    /// Mounts what is on `device`.
    pub fn mount(mut device: D, options: &Options) -> Result<Self> {
        let geometry = Geometry::read(&mut device, options.verify)?;
        let read_only = match features::read_only_feature(geometry.incompat, geometry.ro_compat) {
            _ if options.read_only => Some("mounted so"),
            _ if device.is_read_only() => Some("the device is"),
            None if geometry.journal == 0 => Some("without a journal"),
            None if geometry.incompat & incompat::EXTENTS == 0 => Some("without extents"),
            other => other,
        };
        let buffers = Buffers::new(device, geometry.block_bytes(), geometry.blocks, options.cached_blocks);
        let mut volume = Self { geometry, buffers, read_only, log: None, seconds: 0, orphans: Vec::new() };
        if volume.geometry.journal != 0 {
            volume.open_journal(options)?;
        } else if volume.geometry.incompat & incompat::RECOVER != 0 {
            return Err(Error::Corrupt("something to recover, and no journal"));
        }
        if !volume.inode(ROOT)?.is_directory() {
            return Err(Error::Corrupt("a root that is no directory"));
        }
        let raw = volume.superblock()?;
        volume.seconds = raw.wtime.get().max(raw.mkfs_time.get()).into();
        if volume.log.is_some() {
            volume.set_needs_recovery(true)?;
            volume.adopt_orphans()?;
        }
        Ok(volume)
    }

    /// Recovers what is in the journal, and gets it ready if it will be written to.
    fn open_journal(&mut self, options: &Options) -> Result<()> {
        let needs_recovery = self.geometry.incompat & incompat::RECOVER != 0;
        if !needs_recovery && self.read_only.is_some() {
            return Ok(());
        }
        let blocks = self.journal_blocks()?;
        let mut superblock = zeroed(self.geometry.block_bytes())?;
        self.buffers.read_device(blocks.place(0)?, &mut superblock)?;
        let format = Format::parse(&superblock, self.geometry.block_bytes(), blocks.len)?;
        // Without the flag, what is there was put in its place before.
        let found = match needs_recovery {
            true => recovery::find(&mut self.buffers, &blocks, &format, &superblock)?,
            false => Recovered { sequence: be32(&superblock, field::SEQUENCE)?, ..Recovered::default() },
        };
        if options.read_only || self.buffers.device.is_read_only() {
            self.buffers.set_redirects(found.blocks);
            return self.read_geometry(options);
        }
        recovery::put_in_place(&mut self.buffers, &found)?;
        self.read_geometry(options)?;
        if !format.is_current() {
            self.read_only = self.read_only.or(Some("the journal is of version 1"));
        }
        if format.has(feature::FAST_COMMIT) {
            self.read_only = self.read_only.or(Some("fast_commit"));
        }
        let wide = self.geometry.incompat & incompat::SIXTY_FOUR != 0;
        let mut log =
            Log::new(blocks, format, superblock, found.sequence, wide, self.geometry.metadata_csum())?;
        if log.most() < SMALLEST_JOURNAL {
            self.read_only = self.read_only.or(Some("the journal is too small"));
        }
        if self.read_only.is_none() {
            log.close(&mut self.buffers)?;
            self.log = Some(log);
        } else if needs_recovery {
            // It was recovered all the same, and will not be written to: the journal is as empty as it says.
            log.forget(&mut self.buffers)?;
            self.set_needs_recovery(false)?;
        }
        Ok(())
    }

    /// Where the journal's blocks are.
    fn journal_blocks(&mut self) -> Result<Blocks> {
        let inode = self.inode(self.geometry.journal)?;
        let len = inode.size() / u64::from(self.geometry.block_size);
        let len = u32::try_from(len).map_err(|_| Error::Corrupt("the size of the journal"))?;
        if inode.kind() != kind::REGULAR || u64::from(len) > self.geometry.blocks {
            return Err(Error::Corrupt("the size of the journal"));
        }
        let mut blocks = Blocks::default();
        let mut first = 0;
        while first < len {
            let run = self.map(&inode, first, len - first)?;
            let Place::Written(start) = run.place else {
                return Err(Error::Corrupt("a hole in the journal"));
            };
            blocks.add(first, start, len)?;
            first += run.count;
        }
        Ok(blocks)
    }

    /// Reads the superblock again: recovery may have brought a newer one.
    fn read_geometry(&mut self, options: &Options) -> Result<()> {
        let (block, at) = self.geometry.superblock_place();
        let bytes = self.buffers.read(block)?;
        let size = self.buffers.device.size();
        let geometry = Geometry::parse(part(&bytes, at, 1024)?, size, options.verify)?;
        let old = &self.geometry;
        if (geometry.block_size, geometry.blocks, geometry.journal)
            != (old.block_size, old.blocks, old.journal)
        {
            return Err(Error::Unsupported("a file system that was resized before a crash"));
        }
        self.geometry = geometry;
        Ok(())
    }

    /// Makes all that was done durable.
    pub fn sync(&mut self) -> Result<()> {
        self.must_be_writable()?;
        self.commit()
    }

    /// Makes all durable, and leaves an image that needs no recovery. Gives the device back, with what went wrong.
    pub fn unmount(mut self) -> (D, Result<()>) {
        let result = if self.must_be_writable().is_ok() { self.close() } else { Ok(()) };
        (self.buffers.device, result)
    }

    fn close(&mut self) -> Result<()> {
        self.commit()?;
        if let Some(log) = &mut self.log {
            log.close(&mut self.buffers)?;
        }
        self.set_needs_recovery(false)
    }
}
