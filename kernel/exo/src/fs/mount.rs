// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounting the kernel's own file systems.

use alloc::{sync::Arc, vec::Vec};

use exo_hal::sync::SpinLock;

use super::{
    device,
    node::{self, FileSystem, Node},
    procfs, sysfs,
};
use crate::errno::{Errno, Result};

/// A mount, for /proc/mounts.
#[derive(Clone)]
pub struct Mount {
    /// What was given as the source.
    pub source: Vec<u8>,
    /// The directory.
    pub target: Vec<u8>,
    /// The type.
    pub kind: Vec<u8>,
    covered: Option<Arc<Node>>,
}

static MOUNTS: SpinLock<Vec<Mount>> = SpinLock::new(Vec::new());
static DEVICES: SpinLock<Option<Arc<Node>>> = SpinLock::new(None);

/// All mounts, the root first.
pub fn list() -> Vec<Mount> {
    MOUNTS.lock().clone()
}

/// Notes the root.
pub fn init() {
    MOUNTS.lock().push(Mount {
        source: b"rootfs".to_vec(),
        target: b"/".to_vec(),
        kind: b"rootfs".to_vec(),
        covered: None,
    });
}

/// The root of /dev.
pub fn devices() -> Result<Arc<Node>> {
    if let Some(root) = DEVICES.lock().clone() {
        return Ok(root);
    }
    let root = Node::directory(FileSystem::Devices, 0o755);
    device::populate(&root)?;
    *DEVICES.lock() = Some(root.clone());
    Ok(root)
}

/// Mounts a file system of type `kind` on directory `at`.
pub fn mount(source: &[u8], at: &Arc<Node>, kind: &[u8]) -> Result<()> {
    if !at.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    let root = match kind {
        b"tmpfs" | b"ramfs" => Node::directory(FileSystem::Temporary, 0o1777),
        b"devtmpfs" => devices()?,
        b"proc" => procfs::root(),
        b"sysfs" => sysfs::root(),
        _ => return Err(Errno::ENODEV),
    };
    if Arc::ptr_eq(&root, at) || kind == b"proc" && at.system == FileSystem::Processes {
        return Err(Errno::EBUSY);
    }
    let target = at.path();
    root.place_at(at);
    *at.mounted.lock() = Some(root);
    MOUNTS.lock().push(Mount {
        source: source.to_vec(),
        target,
        kind: kind.to_vec(),
        covered: Some(at.clone()),
    });
    Ok(())
}

/// Takes the topmost mount whose root is `root` away.
pub fn unmount(root: &Arc<Node>) -> Result<()> {
    if Arc::ptr_eq(root, &node::root()) {
        return Err(Errno::EBUSY);
    }
    let mut mounts = MOUNTS.lock();
    let is_root = |covered: &Arc<Node>| covered.mounted.lock().as_ref().is_some_and(|r| Arc::ptr_eq(r, root));
    let at = mounts.iter().rposition(|m| m.covered.as_ref().is_some_and(is_root)).ok_or(Errno::EINVAL)?;
    let mount = mounts.remove(at);
    drop(mounts);
    if let Some(covered) = mount.covered {
        let root = covered.mounted.lock().take();
        drop(root);
    }
    Ok(())
}
