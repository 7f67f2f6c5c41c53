// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who writes to a file or executes it: never both at a time.

use core::sync::atomic::Ordering;

use super::mount::{Mount, Path};
use crate::errno::Result;

/// A file that is open for writing: as long as it is, its mount does not become read-only, and nobody executes it.
pub struct Writing(Path);

impl Writing {
    /// EROFS if nothing may be written there, ETXTBSY if the file is being executed.
    pub fn new(path: &Path) -> Result<Self> {
        path.mount.writers.fetch_add(1, Ordering::SeqCst);
        path.mount.superblock.writers.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = path.check_writable().and_then(|()| path.start_writing()) {
            Self::uncount(&path.mount);
            return Err(error);
        }
        Ok(Self(path.clone()))
    }

    fn uncount(mount: &Mount) {
        mount.superblock.writers.fetch_sub(1, Ordering::SeqCst);
        mount.writers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.end_writing();
        Self::uncount(&self.0.mount);
    }
}

/// A file that is being executed: as long as it is, nobody opens it for writing.
pub struct Executing(Path);

impl Executing {
    /// ETXTBSY if somebody has it open for writing.
    pub fn new(path: &Path) -> Result<Self> {
        path.deny_writing()?;
        Ok(Self(path.clone()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        self.0.allow_writing();
    }
}
