// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thread's share of a descriptor table. Threads of a process have one table together, and so do processes that clone(2) made with
//! CLONE_FILES; the last that leaves closes what is open, and each can get a copy of its own.

use core::{
    ops::Deref,
    sync::atomic::{AtomicBool, Ordering},
};

use alloc::sync::Arc;

use exo_hal::replaceable::Replaceable;

use super::table::FileTable;
use crate::errno::{Errno, Result};

/// The table of a thread.
pub struct Files {
    table: Replaceable<FileTable>,
    left: AtomicBool,
}

impl Files {
    /// A share of `table`.
    pub fn new(table: Arc<FileTable>) -> Self {
        table.join();
        Self { table: Replaceable::new(table), left: AtomicBool::new(false) }
    }

    /// A share of a table without descriptors.
    pub fn empty() -> Self {
        Self::new(Arc::new(FileTable::new()))
    }

    /// The table itself.
    pub fn arc(&self) -> Arc<FileTable> {
        self.table.arc()
    }

    /// Gives the running thread a table of its own. ENOMEM if the kernel has no room, or the thread did this too often.
    pub fn unshare(&self) -> Result<()> {
        self.unshare_below(usize::MAX)
    }

    /// As [`unshare`](Self::unshare); descriptors from `end` on are left out.
    pub fn unshare_below(&self, end: usize) -> Result<()> {
        let old = self.table.arc();
        if !old.is_shared() {
            return Ok(());
        }
        let new = Arc::new(old.duplicate(end)?);
        new.join();
        self.table.replace(new).map_err(|_| Errno::ENOMEM)?;
        old.leave();
        Ok(())
    }

    /// The thread ends: it does not use the table any more.
    pub fn leave(&self) {
        if !self.left.swap(true, Ordering::AcqRel) {
            self.table.get().leave();
        }
    }
}

impl Deref for Files {
    type Target = FileTable;

    #[inline(always)]
    fn deref(&self) -> &FileTable {
        self.table.get()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.leave();
    }
}
