// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file system that is mounted.

use alloc::vec::Vec;

use crate::{buffers::Buffers, device::BlockDevice, geometry::Geometry, journal::log::Log};

/// A file system that is mounted.
pub struct Ext4<D> {
    pub(crate) geometry: Geometry,
    pub(crate) buffers: Buffers<D>,
    /// Why it is not written to.
    pub(crate) read_only: Option<&'static str>,
    /// The journal, if the file system is written to.
    pub(crate) log: Option<Log>,
    /// The latest time that an operation gave, in seconds.
    pub(crate) seconds: i64,
    /// The list of orphans on the disk, from its head.
    pub(crate) orphans: Vec<u32>,
}

impl<D: BlockDevice> Ext4<D> {
    /// What is fixed for the image.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Why nothing is written, if so.
    pub fn read_only(&self) -> Option<&'static str> {
        self.read_only
    }

    /// Blocks of metadata in memory that could go.
    pub fn cached_blocks(&self) -> usize {
        self.buffers.cached()
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.buffers.device
    }

    /// The device, with what has not been written forgotten.
    pub fn into_device(self) -> D {
        self.buffers.device
    }
}
