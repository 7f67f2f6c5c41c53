// SPDX-License-Identifier: MIT OR Apache-2.0
//! /sys: what drivers tell of themselves, and their settings, in the places that they have on Linux. Programs can neither
//! make nor remove names here.

use alloc::{boxed::Box, string::String, sync::Arc};

use exo_hal::{log, once::Once};
use exo_vfs::{dentry::Dentry, file_system::FileSystem, mounting::Mountable, superblock::Single};

use super::inode::{
    Inode, InodeContent, Store,
    directory::{DirectoryOperations, Each, Names},
    kind,
};
use crate::errno::{Errno, Result};

/// A directory in memory, in which the kernel alone makes and removes names.
struct Directory;

impl DirectoryOperations for Directory {
    fn names(&self) -> Names {
        Names::InMemory
    }

    fn lookup(&self, _name: &[u8]) -> Result<Arc<Inode>> {
        Err(Errno::ENOENT)
    }

    fn list(&self, _after: u64, _each: &mut Each<'_>) -> Result<()> {
        Ok(())
    }
}

static ROOT: Once<Arc<Dentry>> = Once::new();

static SYSFS: Single = Single::new(&Sysfs, 6);

/// The type of /sys.
pub(crate) struct Sysfs;

impl FileSystem for Sysfs {
    fn name(&self) -> &'static str {
        "sysfs"
    }

    fn magic(&self) -> i64 {
        0x6265_6572
    }
}

impl Mountable for Sysfs {
    fn mount(&self, data: &[u8]) -> Result<Arc<Dentry>> {
        if data.is_empty() { Ok(root().clone()) } else { Err(Errno::EINVAL) }
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Makes the root directory.
pub(crate) fn init() {
    SYSFS.init();
    ROOT.set(Dentry::root(directory()));
}

fn directory() -> Arc<Inode> {
    Inode::new(&SYSFS, kind::DIRECTORY | 0o755, InodeContent::directory(Directory))
}

fn root() -> &'static Arc<Dentry> {
    ROOT.get().unwrap_or_else(|| unreachable!("set at boot"))
}

/// The directory in `above` with a name, made if it is missing.
fn directory_in(above: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>> {
    match above.add(name, &directory()) {
        Err(Errno::EEXIST) => above.lookup(name),
        made => made,
    }
}

fn try_add(path: &str, content: InodeContent, permissions: u32) -> Result<()> {
    let mut at = root().clone();
    let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in directories.split('/').filter(|part| !part.is_empty()) {
        at = directory_in(&at, part.as_bytes())?;
    }
    let node = Inode::new(&SYSFS, kind::REGULAR | permissions, content);
    at.add(name.as_bytes(), &node).map(drop)
}

fn add(path: &str, content: InodeContent, permissions: u32) {
    if let Err(error) = try_add(path, content, permissions) {
        log!("/sys/{path} is missing: error {}", error.0);
    }
}

/// Adds a file at a path below /sys, whose content `show` makes.
pub fn add_text(path: &str, show: impl Fn() -> String + Send + Sync + 'static) {
    add(path, InodeContent::Text(Box::new(move || Ok(show().into_bytes().into()))), 0o444);
}

/// Removes a directory and what is in it; files that are open show what they show.
pub fn remove(path: &str) {
    let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut at = root().clone();
    for part in directories.split('/').filter(|part| !part.is_empty()) {
        let Ok(next) = at.lookup(part.as_bytes()) else { return };
        at = next;
    }
    // There is nobody to tell if it is not there.
    let _ = at.take_out(name.as_bytes());
}

/// Adds a file that can be written too.
pub fn add_setting(
    path: &str,
    show: impl Fn() -> String + Send + Sync + 'static,
    store: impl Fn(&str) -> Result<()> + Send + Sync + 'static,
) {
    let store: Store = Box::new(move |value| {
        // A line break at the end is none of the value's.
        store(core::str::from_utf8(value).map_err(|_| Errno::EINVAL)?.trim())
    });
    add(path, InodeContent::Setting(Box::new(move || Ok(show().into_bytes().into())), store), 0o644);
}
