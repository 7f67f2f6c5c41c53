// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files: nodes (what has a name), open files (what has a descriptor), paths between the two.

pub mod device;
pub mod file;
pub mod files;
pub mod locks;
pub mod mount;
pub mod node;
pub mod path;
pub mod pipe;
pub mod poll;
pub mod procfs;
pub mod socket_pair;
pub mod sysfs;
pub mod table;
pub mod tty;

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::sync::Arc;

use exo_hal::sync::SpinLock;

pub use file::OpenFile;
pub use files::Files;
use node::Node;
pub use table::FileTable;

/// Working directory and file-creation mask.
pub struct FsContext {
    /// The working directory.
    pub directory: SpinLock<Arc<Node>>,
    /// The root directory as this process sees it.
    pub root: SpinLock<Arc<Node>>,
    /// Permission bits that new files do not get.
    pub umask: AtomicU32,
}

impl FsContext {
    /// At the root, with Linux's first mask.
    pub fn new() -> Self {
        Self {
            directory: SpinLock::new(node::root()),
            root: SpinLock::new(node::root()),
            umask: AtomicU32::new(0o22),
        }
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> Self {
        Self {
            directory: SpinLock::new(self.directory.lock().clone()),
            root: SpinLock::new(self.root.lock().clone()),
            umask: AtomicU32::new(self.umask.load(Ordering::Relaxed)),
        }
    }
}
