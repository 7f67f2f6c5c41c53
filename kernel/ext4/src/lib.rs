// SPDX-License-Identifier: MIT OR Apache-2.0
//! ext4, for a kernel: it knows no kernel, only a [`BlockDevice`]. An image is hostile until its numbers have been checked, which is done
//! once, where they are read; what is wrong with it is an [`Error`], never a panic, a loop without end or memory without bound.
//!
//! [`Ext4`] is a file system that is mounted. All of its functions take it exclusively: a kernel puts it behind a lock that sleeps, and keeps
//! pages, names and inodes in its own caches. File data need not go through it: [`Ext4::map`] says where it is.
//!
//! The format is described in Linux's `Documentation/filesystems/ext4/`; each file here names its chapter.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

mod allocate;
mod attributes;
mod blockmap;
mod buffers;
mod checksum;
mod content;
mod device;
mod directory;
mod directory_edit;
mod error;
mod extents;
mod extents_edit;
pub mod features;
mod file;
mod geometry;
mod groups;
mod hash;
mod index;
mod index_edit;
mod inline;
mod inode;
mod inode_edit;
mod journal;
mod layout;
mod map;
mod mount;
mod names;
mod orphan;
mod run;
mod superblock;
mod transaction;
mod volume;

pub use attributes::{Attribute, Namespace};
pub use content::Change;
pub use device::BlockDevice;
pub use directory::Entry;
pub use error::{Error, Result};
pub use geometry::{Geometry, ROOT};
pub use inode::{Inode, Time, flags, kind};
pub use mount::Options;
pub use names::{New, Rename, What};
pub use run::{Place, Run};
pub use superblock::Usage;
pub use volume::Ext4;
