// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/PID/task.

use alloc::{format, sync::Arc};

use super::{number, process, subject::Reference};
use crate::{
    errno::{Errno, Result},
    fs::inode::{
        Inode,
        directory::{DirectoryOperations, Each},
        kind,
    },
};

/// A process's threads.
pub(super) struct Threads(pub(super) Reference);

impl DirectoryOperations for Threads {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let subject = self.0.get().map_err(|_| Errno::ENOENT)?;
        let tid = number(name).ok_or(Errno::ENOENT)?;
        let thread = subject.process.threads.lock().get(&tid).cloned();
        let thread = thread.ok_or(Errno::ENOENT)?;
        Ok(process::thread_directory(self.0.to_thread(&thread), tid))
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        let subject = self.0.get().map_err(|_| Errno::ENOENT)?;
        let next = |after: u64| {
            let from = u32::try_from(after).ok()?.checked_add(1)?;
            subject.process.threads.lock().range(from..).next().map(|(&tid, _)| tid)
        };
        let mut after = after;
        while let Some(tid) = next(after) {
            after = tid.into();
            let name = format!("{tid}");
            if !each(name.as_bytes(), kind::DIRECTORY, process::inode_of_thread(tid), tid.into()) {
                break;
            }
        }
        Ok(())
    }
}
