// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links of /proc that lead to a place, not to a path.

use alloc::vec::Vec;

use crate::{errno::Result, mount::Path};

/// A link that leads to a place or an open file, whatever its name is now. It does not keep an open file open: links to links would be
/// a chain of any length.
pub trait MagicLink: Send + Sync {
    /// Where it leads.
    fn target(&self) -> Result<Path>;
    /// What readlink shows.
    fn text(&self) -> Result<Vec<u8>>;
    /// Its size, as stat shows it.
    fn size(&self) -> u64 {
        0
    }
}
