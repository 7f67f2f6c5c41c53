// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounting: what is checked first, and what is written to.

use crate::{
    buffers::Buffers,
    device::BlockDevice,
    error::{Error, Result},
    features::{self, incompat},
    geometry::{Geometry, ROOT},
    volume::Ext4,
};

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
        let mut volume = Self { geometry, buffers, read_only };
        if volume.geometry.incompat & incompat::RECOVER != 0 {
            return Err(Error::Unsupported("needs_recovery"));
        }
        if !volume.inode(ROOT)?.is_directory() {
            return Err(Error::Corrupt("a root that is no directory"));
        }
        Ok(volume)
    }
}
