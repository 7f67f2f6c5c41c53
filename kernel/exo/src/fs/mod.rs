// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files: inodes (what has a name), open files (what has a descriptor), paths between the two.

pub mod asynchronous;
pub mod device;
pub mod directory;
pub mod file;
pub mod files;
pub mod inode;
pub mod locks;
pub mod mount;
pub mod mount_list;
pub mod mount_options;
pub mod path;
pub mod permission;
pub mod pipe;
pub mod poll;
pub mod procfs;
pub mod size_limit;
pub mod socket_pair;
pub mod superblock;
pub mod sysfs;
pub mod sysfs_cpus;
pub mod table;
pub mod text;
pub mod tty;
pub mod xattr;

use core::sync::atomic::{AtomicU32, Ordering};

use exo_hal::sync::SpinLock;

pub use file::OpenFile;
pub use files::Files;
use mount::Path;
pub use table::FileTable;

/// Working directory and file-creation mask.
pub struct FsContext {
    /// The working directory.
    pub directory: SpinLock<Path>,
    /// The root directory as this process sees it.
    pub root: SpinLock<Path>,
    /// Permission bits that new files do not get.
    pub umask: AtomicU32,
}

impl FsContext {
    /// At the root, with Linux's first mask.
    pub fn new() -> Self {
        Self {
            directory: SpinLock::new(mount::root()),
            root: SpinLock::new(mount::root()),
            umask: AtomicU32::new(0o22),
        }
    }

    /// Lets go of both directories: the process has ended.
    pub fn leave(&self) {
        for place in [&self.directory, &self.root] {
            let old = core::mem::replace(&mut *place.lock(), mount::root());
            drop(old);
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
