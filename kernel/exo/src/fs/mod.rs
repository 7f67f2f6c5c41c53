// SPDX-License-Identifier: MIT OR Apache-2.0
//! File systems, terminals and sockets, on top of [`exo_vfs`].

pub mod asynchronous;
pub mod memory_devices;
pub mod mount_list;
pub mod mount_options;
pub mod procfs;
pub mod socket_pair;
pub mod sysfs;
pub mod sysfs_cpus;
pub mod tty;

pub use exo_vfs::{
    FileTable, Files, OpenFile, context, device, events, file, inode, locks, mount, open, path, permission,
    pipe, poll, size_limit, superblock, table, text, xattr,
};
