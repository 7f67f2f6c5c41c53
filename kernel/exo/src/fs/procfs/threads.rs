// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/PID/task.

use alloc::{format, sync::Arc, vec::Vec};

use super::{number, process, process::Reference};
use crate::{
    errno::{Errno, Result},
    fallible,
    fs::node::{DynamicDirectory, Each, Node, kind},
};

/// A process's threads.
pub(super) struct Threads(pub(super) Reference);

impl DynamicDirectory for Threads {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let subject = self.0.get().map_err(|_| Errno::ENOENT)?;
        let tid = number(name).ok_or(Errno::ENOENT)?;
        let thread = subject.process.threads.lock().iter().find(|t| t.tid() == tid).cloned();
        let thread = thread.ok_or(Errno::ENOENT)?;
        Ok(process::thread_directory(self.0.to_thread(&thread), tid))
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        let subject = self.0.get().map_err(|_| Errno::ENOENT)?;
        // Their number is the program's choice, and others may come while there is no lock.
        let count = subject.process.threads.lock().len();
        let mut tids: Vec<u32> = fallible::list(count)?;
        tids.extend(subject.process.threads.lock().iter().map(|t| t.tid()).take(count));
        tids.sort_unstable();
        for tid in tids.into_iter().filter(|tid| u64::from(*tid) > after) {
            let name = format!("{tid}");
            if !each(name.as_bytes(), kind::DIRECTORY, process::inode_of_thread(tid), tid.into()) {
                break;
            }
        }
        Ok(())
    }
}
