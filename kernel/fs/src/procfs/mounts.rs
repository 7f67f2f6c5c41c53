// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is mounted.

use core::fmt::Write;

use super::subject::Subject;
use crate::mount_list;

/// The same with the numbers of mounts and file systems.
pub(super) fn mount_info(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let root = of.process.fs.root.lock().clone();
    mount_list::visible(&root).iter().try_for_each(|mount| mount_list::write_info_line(mount, out))
}

/// The same for programs that look for file systems with figures of their own, which there are not.
pub(super) fn mount_statistics(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let root = of.process.fs.root.lock().clone();
    mount_list::visible(&root).iter().try_for_each(|mount| mount_list::write_statistics_line(mount, out))
}

/// The mounts that can be seen from the process's root directory.
pub(super) fn mounts(of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    let root = of.process.fs.root.lock().clone();
    mount_list::visible(&root).iter().try_for_each(|mount| mount_list::write_mounts_line(mount, out))
}
