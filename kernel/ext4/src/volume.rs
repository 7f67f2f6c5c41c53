// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file system that is mounted.

use crate::{buffers::Buffers, device::BlockDevice, geometry::Geometry};

/// A file system that is mounted.
pub struct Ext4<D> {
    pub(crate) geometry: Geometry,
    pub(crate) buffers: Buffers<D>,
    /// Why it is not written to.
    pub(crate) read_only: Option<&'static str>,
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

    /// The device, with what has not been written forgotten.
    pub fn into_device(self) -> D {
        self.buffers.device
    }
}
