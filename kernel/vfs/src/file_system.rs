// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types of file systems, as inodes and open files know them. What is needed to mount one is a [`Mountable`](crate::mounting::Mountable).

/// A type of file system.
pub trait FileSystem: Sync {
    /// The name that mount(2) and /proc/filesystems have for it.
    fn name(&self) -> &'static str;

    /// Its magic number, as statfs gives it (Linux's magic.h).
    fn magic(&self) -> i64;

    /// Programs can make files in it. Without, they find what it shows.
    fn holds_files(&self) -> bool {
        false
    }

    /// Its files have extended attributes.
    fn holds_attributes(&self) -> bool {
        self.holds_files()
    }

    /// Its text files have an end to seek from.
    fn has_ends(&self) -> bool {
        true
    }

    /// What is in it has a name.
    fn has_names(&self) -> bool {
        true
    }
}
