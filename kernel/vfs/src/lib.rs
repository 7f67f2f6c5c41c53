// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names and files: inodes (what has a name), open files (what has a descriptor), paths between the two, and the mounts that make one
//! tree of several file systems.
//!
//! Nothing here knows a process, a driver or a particular file system. What depends on the running program comes from the core (its
//! credentials and limits) and from [`context`] (where its process is in the tree); devices register with [`device`]; files of other
//! kinds implement [`file::File`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod attributes;
pub mod context;
pub mod dentry;
pub mod device;
pub mod events;
pub mod file;
pub mod file_system;
pub mod files;
pub mod inode;
pub mod io;
pub mod locks;
pub mod mount;
pub mod mounting;
mod naming;
pub mod notify;
pub mod open;
pub mod open_file;
pub mod path;
pub mod permission;
pub mod pipe;
pub mod poll;
pub mod size_limit;
pub mod superblock;
pub mod table;
pub mod text;
mod text_file;
mod watchers;
pub mod writing;
pub mod xattr;

use exo_core::{errno, fallible, io_buf, room, sched, user};
use exo_mm as mm;

pub use context::FsContext;
pub use files::Files;
pub use open_file::OpenFile;
pub use table::FileTable;
