// SPDX-License-Identifier: MIT OR Apache-2.0
//! File systems that show what there is (/proc, /sys), and files of devices that every machine has: memory devices, terminals and pseudo-terminals, disks, the log.
//!
//! They lie above programs, since they show them: /proc has a directory for each, and a terminal belongs to a session.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod devpts;
pub mod disk;
pub mod kernel_log;
mod line;
pub mod memory_devices;
pub mod mount_list;
pub mod procfs;
mod pty;
pub mod sysfs;
pub mod sysfs_cpus;
pub mod terminals;
pub mod tmpfs;
pub mod tty;

use exo_core::{errno, fallible, io_buf, random, room, sched, user};
use exo_mm as mm;
use exo_process::{power, signal, task};
use exo_vfs as fs;
use exo_vfs::{device, events, file, inode, mount, mounting, text};

use errno::Result;

/// Makes the file systems known, and those that exist once.
pub fn init() -> Result<()> {
    sysfs::init();
    procfs::init();
    memory_devices::init()?;
    mounting::register(&sysfs::Sysfs)?;
    mounting::register(&tmpfs::Tmpfs)?;
    mounting::register(&procfs::Proc)?;
    mounting::register(&memory_devices::Devtmpfs)?;
    mounting::register(&devpts::Devpts)?;
    mounting::register(&tmpfs::Ramfs)
}
