// SPDX-License-Identifier: MIT OR Apache-2.0
//! What files are told of the running task.

use core::sync::atomic::Ordering;

use super::current;
use crate::fs::{context::CurrentTask, mount::Path};

/// The running task.
pub struct Running;

impl CurrentTask for Running {
    fn root(&self) -> Path {
        current().process.fs.root.lock().clone()
    }

    fn directory(&self) -> Path {
        current().process.fs.directory.lock().clone()
    }

    fn process(&self) -> u32 {
        current().pid
    }

    fn umask(&self) -> u32 {
        current().process.fs.umask.load(Ordering::Relaxed)
    }
}
