// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether there is room for what is fetched and built.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::context::Context;

/// MiB that the tool tree and the kernels take in the cache: 2.1 GiB the tree, 2.4 GiB the stock kernel's source, headers and the
/// build of the checked kernel; and what their making needs meanwhile.
const CACHE: u64 = 6 << 10;
/// MiB that all builds of a checkout take, with those of `.ci/run`.
const BUILDS: u64 = 6 << 10;
/// MiB below which a command that finds all made already may still fail.
const LOW: u64 = 2 << 10;

/// A folder on a file system of its own, or two that share one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// The folder, or the first of the two.
    pub(crate) folder: PathBuf,
    /// MiB that are free there.
    pub(crate) free: u64,
    /// MiB that everything from nothing may take there.
    pub(crate) wanted: u64,
}

/// The room for the cache and for this checkout's builds.
pub(crate) fn rooms(context: &Context) -> anyhow::Result<Vec<Room>> {
    let mut found: Vec<(u64, Room)> = Vec::new();
    for (folder, wanted) in [(&context.cache, CACHE), (&context.target, BUILDS)] {
        let made = existing(folder);
        let (device, free) = (made.metadata()?.dev(), free(made)?);
        match found.iter_mut().find(|(other, _)| *other == device) {
            Some((_, room)) => room.wanted += wanted,
            None => found.push((device, Room { folder: folder.clone(), free, wanted })),
        }
    }
    Ok(found.into_iter().map(|(_, room)| room).collect())
}

/// Those where even a command that has little left to make may run out.
pub(crate) fn low(context: &Context) -> Vec<Room> {
    // What cannot be asked is no reason to stop anybody: whoever needs the room finds out.
    rooms(context).unwrap_or_default().into_iter().filter(|room| room.free < LOW).collect()
}

/// The folder itself, or the innermost folder around it that is there already.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"))
}

/// MiB that this user may still fill.
fn free(folder: &Path) -> anyhow::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(folder)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(cache: PathBuf, target: PathBuf) -> Context {
        Context { checkout: PathBuf::from("/"), target, cache }
    }

    #[test]
    fn folders_that_share_a_file_system_share_its_room() {
        let folder = tempfile::tempdir().unwrap();
        // Neither is there yet.
        let (cache, target) = (folder.path().join("cache"), folder.path().join("a/b/target"));
        let rooms = rooms(&context(cache.clone(), target)).unwrap();
        assert_eq!(rooms.len(), 1);
        assert_eq!((&rooms[0].folder, rooms[0].wanted), (&cache, CACHE + BUILDS));
        assert!(rooms[0].free > 0);
    }

    #[test]
    fn a_full_file_system_is_low() {
        // Linux's own file system of processes has no room at all.
        let low = low(&context(PathBuf::from("/proc"), std::env::temp_dir()));
        assert!(low.contains(&Room { folder: PathBuf::from("/proc"), free: 0, wanted: CACHE }), "{low:?}");
    }
}
