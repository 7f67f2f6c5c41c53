// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open files that no name leads to.

use alloc::sync::Arc;

use exo_vfs::{
    OpenFile,
    file::File,
    inode::{Inode, InodeContent},
    superblock::ANONYMOUS,
};

use crate::{errno::Result, fallible};

/// Opens a file with these permission bits, with the `O_` bits `flags`.
///
/// # Errors
/// ENOMEM.
pub(crate) fn open(file: impl File + 'static, permissions: u32, flags: u32) -> Result<Arc<OpenFile>> {
    let node = Inode::new(&ANONYMOUS, permissions, InodeContent::Other);
    Ok(OpenFile::new(fallible::boxed(file)?, node, flags)?)
}
