// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is mounted.

use core::fmt::Write;

use super::process::Subject;
use crate::fs::mount_list;

/// The mounts that can be seen from the process's root directory.
pub(super) fn mounts(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let root = of.process.fs.root.lock().clone();
    mount_list::visible(&root).iter().try_for_each(|mount| mount_list::write_mounts_line(mount, out))
}
