// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which types of file systems can be mounted, and mounting one. How to write one: see docs/write-a-file-system.md.

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use exo_hal::sync::SpinLock;
use linux_raw_sys::general as abi;

use crate::{
    dentry::Dentry,
    errno::{Errno, Result},
    file_system::FileSystem,
    inode::Inode,
    mount::{self, Mount, Path},
    superblock::SuperBlock,
};

/// A type of file system that can be mounted.
pub trait Mountable: FileSystem {
    /// Finds or makes an instance, and gives its root. `data` are the options of mount(2), separated by commas.
    ///
    /// # Errors
    /// EINVAL for an option that it has not, ENOMEM.
    fn mount(&self, data: &[u8]) -> Result<Arc<Dentry>>;

    /// Changes the options of an instance; what `data` does not name stays.
    ///
    /// # Errors
    /// EINVAL for an option that it has not, or a value that cannot be now. Nothing has changed then.
    fn remount(&self, _instance: &SuperBlock, data: &[u8]) -> Result<()> {
        if data.is_empty() { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// An instance's options as /proc/mounts shows them, each with a comma before it.
    fn options(&self, _instance: &SuperBlock, _root: &Inode) -> Vec<u8> {
        Vec::new()
    }

    /// All its mounts show one instance.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Those that there are, in the order of /proc/filesystems.
static TYPES: SpinLock<Vec<&'static dyn Mountable>> = SpinLock::new(Vec::new());

/// Makes a type known; EBUSY if there is one of its name.
pub fn register(new: &'static dyn Mountable) -> Result<()> {
    let mut types = TYPES.lock();
    if types.iter().any(|known| known.name() == new.name()) {
        return Err(Errno::EBUSY);
    }
    types.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    types.push(new);
    Ok(())
}

/// The type of this name.
pub fn by_name(name: &[u8]) -> Option<&'static dyn Mountable> {
    TYPES.lock().iter().find(|known| known.name().as_bytes() == name).copied()
}

/// Calls `each` with the types, in the order in which they were registered.
pub fn each(mut each: impl FnMut(&'static dyn Mountable)) {
    let mut next = 0;
    while let Some(known) = { TYPES.lock().get(next).copied() } {
        each(known);
        next += 1;
    }
}

/// The type of an instance; none for the root and for what has no names, which nobody mounts.
fn type_of(instance: &SuperBlock) -> Option<&'static dyn Mountable> {
    by_name(instance.system.name().as_bytes())
}

/// Mounts a file system of the type named `kind` (MS_ flags in `flags`); `data` are its own options.
///
/// # Errors
/// ENODEV for a type that there is not, EBUSY if the very same is what is seen there, and what [`Mountable::mount`] says.
pub fn mount(source: &[u8], at: Path, kind: &[u8], flags: u32, data: &[u8]) -> Result<()> {
    let system = by_name(kind).ok_or(Errno::ENODEV)?;
    let root = system.mount(data)?;
    let at = at.topmost();
    if at.is_mount_root() && Arc::ptr_eq(&at.dentry, &root) {
        return Err(Errno::EBUSY);
    }
    let mount = Mount::new(root, source.to_vec(), flags & !abi::MS_RDONLY);
    if flags & abi::MS_RDONLY != 0 {
        // Of a file system that others see too, only this mount becomes read-only.
        if system.is_shared() { mount.set_flags(flags)? } else { mount.set_read_only(true)? }
    }
    mount::attach(&mount, at)
}

/// Changes a mounted file system and its mount (MS_REMOUNT).
///
/// # Errors
/// EBUSY if it is to be read-only and files are open for writing, and what [`Mountable::remount`] says.
pub fn remount(mount: &Mount, flags: u32, data: &[u8]) -> Result<()> {
    let instance = &mount.superblock;
    let set_options = || {
        type_of(instance).map_or_else(|| check_options_of_root(data), |system| system.remount(instance, data))
    };
    if flags & abi::MS_RDONLY == 0 {
        set_options()?;
        mount.set_read_only(false)?;
    } else {
        // First what others may stand in the way of; what is undone then cannot fail.
        let was_read_only = instance.read_only.load(Ordering::SeqCst);
        mount.set_read_only(true)?;
        if let Err(error) = set_options() {
            mount.set_read_only(was_read_only)?;
            return Err(error);
        }
    }
    mount.set_flags(flags & !abi::MS_RDONLY)
}

/// The root has the options of a tmpfs, as on Linux, and no limit that they could change.
fn check_options_of_root(data: &[u8]) -> Result<()> {
    const NAMES: [&[u8]; 8] =
        [b"size", b"nr_blocks", b"nr_inodes", b"mode", b"uid", b"gid", b"inode64", b"huge"];
    let mut options = data.split(|byte| *byte == b',').filter(|option| !option.is_empty());
    let is_known = |option: &[u8]| {
        let name = option.split(|byte| *byte == b'=').next().unwrap_or_default();
        NAMES.contains(&name)
    };
    if options.all(is_known) { Ok(()) } else { Err(Errno::EINVAL) }
}

/// The options of a mounted file system, each with a comma before it.
pub fn options(instance: &SuperBlock, root: &Inode) -> Vec<u8> {
    type_of(instance).map_or_else(Vec::new, |system| system.options(instance, root))
}
