// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs of blocks: what a place in a file leads to.

/// Where blocks of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: they read as zeros.
    Hole,
    /// In the blocks from this one on, which belong to the file, but read as zeros until they are written.
    Unwritten(u64),
    /// In the blocks from this one on.
    Written(u64),
}

/// Blocks of a file that are one after the other on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first, counted from the file's start.
    pub first: u32,
    /// How many, at least one.
    pub count: u32,
    /// Where they are.
    pub place: Place,
}
