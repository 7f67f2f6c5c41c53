// SPDX-License-Identifier: MIT OR Apache-2.0
//! The credentials of the running thread, and how it gets others.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

pub use exo_core::{
    credentials::{Credentials, GROUPS_MAX, Which},
    thread::capable,
};

use super::Task;

/// Gives the running thread other credentials.
pub fn commit(task: &Task, new: Credentials) {
    let new = Arc::new(new);
    let old = task.credentials.replace(new.clone());
    let acts = |c: &Credentials| (c.users.effective, c.groups.effective, c.users.fs, c.groups.fs);
    // Who acts as somebody else from now on shows its memory to nobody, and its parent's end is no longer its own affair.
    if acts(&old) != acts(&new) || new.capabilities.permitted & !old.capabilities.permitted != 0 {
        task.process.dumpable.store(0, Ordering::Relaxed);
        task.death_signal.store(0, Ordering::Relaxed);
    }
}
