// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal: a ring of blocks in a file, where what a transaction changes stands before it goes to its place.
//! Source: Linux `Documentation/filesystems/ext4/journal.rst`; jbd2 is the name of Linux's.

pub(crate) mod format;
pub(crate) mod log;
pub(crate) mod place;
pub(crate) mod recovery;
