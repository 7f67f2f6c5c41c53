// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files and what is built on them.

pub mod asynchronous;

pub use exo_fs::{mount_options, sysfs, sysfs_cpus, tty};
pub use exo_vfs::{
    FileTable, Files, OpenFile, context, device, file, inode, locks, mount, open, path, permission, pipe,
    poll, size_limit, table, xattr,
};
