// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who runs, and where its process is in the tree of files. Files know no processes; the floor above says through [`CurrentTask`] where the one is that
//! runs.

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::vec::Vec;

use exo_hal::{once::Once, sync::SpinLock};

use super::mount::{self, Path};

/// The thread that runs, as files see it.
pub trait CurrentTask: Sync {
    /// The root directory of its process.
    fn root(&self) -> Path;
    /// The working directory of its process.
    fn directory(&self) -> Path;
    /// The number of its process.
    fn process(&self) -> u32;
    /// Permission bits that new files do not get.
    fn umask(&self) -> u32;
}

static CURRENT: Once<&'static dyn CurrentTask> = Once::new();

/// Says who knows the thread that runs. Once, before anything is done with files.
pub fn set_current(current: &'static dyn CurrentTask) {
    CURRENT.set(current);
}

/// The thread that runs.
#[inline]
pub fn current() -> &'static dyn CurrentTask {
    *CURRENT.get().unwrap_or_else(|| unreachable!("set at boot"))
}

/// Working directory and file-creation mask.
pub struct FsContext {
    /// The working directory.
    pub directory: SpinLock<Path>,
    /// The root directory as this process sees it.
    pub root: SpinLock<Path>,
    /// Permission bits that new files do not get.
    pub umask: AtomicU32,
}

impl Default for FsContext {
    fn default() -> Self {
        Self::new()
    }
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

impl Path {
    /// Its path as the running program sees it, with ` (deleted)` if it has no name any more; what is longer than a path may be is
    /// not shown.
    pub fn path(&self) -> Vec<u8> {
        let root = current().root();
        let Ok((mut out, _)) = self.names_below(&root) else { return b"(too long)".to_vec() };
        if self.dentry.is_removed() {
            out.extend(b" (deleted)");
        }
        out
    }
}
