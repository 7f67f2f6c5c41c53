// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process says, kept until somebody reads it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory for a process's stdout and stderr. Not a pipe: a process that the kernel holds would keep that open for
/// ever.
pub(super) struct Output(File);

impl Output {
    /// An empty one.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(File::from(memfd_create("output", MemfdFlags::CLOEXEC)?)))
    }

    /// For the process to write to.
    pub(super) fn end(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    /// All that was written; what is no UTF-8 is replaced.
    pub(super) fn read(&mut self) -> io::Result<String> {
        let mut said = Vec::new();
        self.0.seek(SeekFrom::Start(0))?;
        self.0.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}
