// SPDX-License-Identifier: MIT OR Apache-2.0
//! The circles of files that are known and not yet cut. This list only shrinks.

/// Two files may know each other; more are a circle.
pub(crate) const ALLOWED: usize = 2;

/// A crate with circles of more files.
pub(crate) struct Known {
    /// Its folder in `kernel/`.
    pub(crate) folder: &'static str,
    /// The files of its largest circle, at most.
    pub(crate) files: usize,
}

/// All of them.
pub(crate) const CIRCLES: &[Known] = &[Known { folder: "exo", files: 21 }];
