// SPDX-License-Identifier: MIT OR Apache-2.0
//! /sys: what drivers tell of themselves, and their settings, in the places that they have on Linux. Programs can neither
//! make nor remove names here.

use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use exo_hal::{once::Once, sync::SpinLock};
use exo_vfs::{file_system::FileSystem, mounting::Mountable, superblock::Single};

use super::inode::{DynamicDirectory, Each, Inode, InodeContent, Store, kind};
use crate::errno::{Errno, Result};

/// A directory's names. The inode and the directory behind it share them.
type Names = Arc<SpinLock<BTreeMap<Vec<u8>, Entry>>>;

/// A name and what it stands for.
#[derive(Clone)]
enum Entry {
    Directory(Arc<Inode>, Names),
    File(Arc<Inode>),
}

impl Entry {
    fn node(&self) -> &Arc<Inode> {
        match self {
            Self::Directory(node, _) | Self::File(node) => node,
        }
    }
}

struct Directory(Names);

impl DynamicDirectory for Directory {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        self.0.lock().get(name).map(|entry| entry.node().clone()).ok_or(Errno::ENOENT)
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        let names = self.0.lock();
        for (at, (name, entry)) in (1..).zip(&*names).skip(usize::try_from(after).unwrap_or(usize::MAX)) {
            if !each(name, entry.node().kind(), entry.node().number, at) {
                break;
            }
        }
        Ok(())
    }
}

static ROOT: Once<(Arc<Inode>, Names)> = Once::new();

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
    fn mount(&self, data: &[u8]) -> Result<Arc<Inode>> {
        if data.is_empty() { Ok(tree().0.clone()) } else { Err(Errno::EINVAL) }
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Makes the root directory.
pub(crate) fn init() {
    SYSFS.init();
    ROOT.set(directory());
}

fn directory() -> (Arc<Inode>, Names) {
    let names = Names::default();
    let content = InodeContent::Dynamic(Box::new(Directory(names.clone())));
    (Inode::new(&SYSFS, kind::DIRECTORY | 0o755, content), names)
}

fn tree() -> &'static (Arc<Inode>, Names) {
    ROOT.get().unwrap_or_else(|| unreachable!("set at boot"))
}

fn add(path: &str, content: InodeContent, permissions: u32) {
    let (mut at, mut names) = tree().clone();
    let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in directories.split('/').filter(|part| !part.is_empty()) {
        let entry = names.lock().get(part.as_bytes()).cloned();
        (at, names) = match entry {
            Some(Entry::Directory(node, names)) => (node, names),
            _ => {
                let (node, inner) = directory();
                node.put_into(&at, part.as_bytes());
                names.lock().insert(part.into(), Entry::Directory(node.clone(), inner.clone()));
                (node, inner)
            }
        };
    }
    let node = Inode::new(&SYSFS, kind::REGULAR | permissions, content);
    names.lock().insert(name.into(), Entry::File(node));
}

/// Adds a file at a path below /sys, whose content `show` makes.
pub fn add_text(path: &str, show: impl Fn() -> String + Send + Sync + 'static) {
    add(path, InodeContent::Text(Box::new(move || Ok(show().into_bytes().into()))), 0o444);
}

/// Removes a directory and what is in it; files that are open show what they show.
pub fn remove(path: &str) {
    let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut names = tree().1.clone();
    for part in directories.split('/').filter(|part| !part.is_empty()) {
        let entry = names.lock().get(part.as_bytes()).cloned();
        let Some(Entry::Directory(_, inner)) = entry else { return };
        names = inner;
    }
    let gone = names.lock().remove(name.as_bytes());
    drop(gone);
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
