// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes of files, as Linux's tmpfs has them: `user.`, `trusted.` and `security.`. No access-control lists.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame, sync::SpinLock};
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

use super::{
    inode::{FileSystem, Inode, kind},
    mount::Path,
    permission,
};
use crate::{
    errno::{Errno, Result},
    mm::Quota,
    task::credentials::capable,
};

/// Most attributes of a file: each call looks through them with the file's lock held.
const MOST: usize = 256;
/// Most bytes of names and values of a file.
const MOST_BYTES: usize = 256 << 10;
/// What an attribute takes besides its name and value.
const OVERHEAD: usize = 96;

/// The attributes of one file, in the order of their names.
#[derive(Default)]
pub struct Attributes(SpinLock<BTreeMap<Vec<u8>, Arc<Vec<u8>>>>);

/// Who may use an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    User,
    Trusted,
    Security,
    /// Access-control lists, and names that nobody knows.
    Other,
}

fn namespace(name: &[u8]) -> Namespace {
    match name.split(|byte| *byte == b'.').next() {
        Some(b"user") => Namespace::User,
        Some(b"trusted") => Namespace::Trusted,
        Some(b"security") => Namespace::Security,
        _ => Namespace::Other,
    }
}

/// Whether the caller may do that with an attribute, by its name and the file's permissions.
fn check_permission(node: &Inode, name: &[u8], writes: bool) -> Result<()> {
    let refused = Err(if writes { Errno::EPERM } else { Errno::ENODATA });
    match namespace(name) {
        Namespace::Security => return Ok(()),
        _ if name.starts_with(b"system.") => return Ok(()),
        Namespace::Trusted if capable(capability::SYS_ADMIN) => return Ok(()),
        Namespace::Trusted => return refused,
        Namespace::User => match node.kind() {
            kind::REGULAR => {}
            kind::DIRECTORY => {
                let is_sticky = node.metadata().mode & abi::S_ISVTX != 0;
                if writes && is_sticky && !permission::is_owner(node) {
                    return Err(Errno::EPERM);
                }
            }
            _ => return refused,
        },
        Namespace::Other => {}
    }
    permission::check(node, if writes { permission::WRITE } else { permission::READ })
}

/// The attributes of a file whose file system has the one named; EOPNOTSUPP if it has none such.
fn find<'a>(node: &'a Inode, name: &[u8]) -> Result<&'a Attributes> {
    let is_ramfs = node.system == FileSystem::Temporary && node.superblock.quota.limit() == 0;
    if !node.system.holds_files() || is_ramfs {
        return Err(Errno::EOPNOTSUPP);
    }
    let dot = name.iter().position(|byte| *byte == b'.').ok_or(Errno::EOPNOTSUPP)?;
    if namespace(name) == Namespace::Other {
        return Err(Errno::EOPNOTSUPP);
    }
    if dot + 1 == name.len() { Err(Errno::EINVAL) } else { Ok(&node.attributes) }
}

/// Those of `security.` are not for everybody to change.
fn check_security(name: &[u8]) -> Result<()> {
    let needed = if name == b"security.capability" { capability::SETFCAP } else { capability::SYS_ADMIN };
    if namespace(name) == Namespace::Security && !capable(needed) { Err(Errno::EPERM) } else { Ok(()) }
}

/// When an attribute is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Whether it exists or not.
    Always,
    /// EEXIST if it does (XATTR_CREATE).
    New,
    /// ENODATA if it does not (XATTR_REPLACE).
    Exists,
}

/// Bytes that are counted for attributes, in pages of the file system.
fn pages(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_SIZE)
}

fn bytes(all: &BTreeMap<Vec<u8>, Arc<Vec<u8>>>) -> usize {
    all.iter().map(|(name, value)| name.len() + value.len() + OVERHEAD).sum()
}

impl Attributes {
    fn set(&self, quota: &Quota, name: &[u8], value: Vec<u8>, when: When) -> Result<()> {
        let value = Arc::new(value);
        let mut all = self.0.lock();
        let old = all.get(name);
        match (when, old) {
            (When::New, Some(_)) => return Err(Errno::EEXIST),
            (When::Exists, None) => return Err(Errno::ENODATA),
            _ => {}
        }
        let before = bytes(&all);
        let without = before - old.map_or(0, |old| name.len() + old.len() + OVERHEAD);
        let after = without + name.len() + value.len() + OVERHEAD;
        if old.is_none() && all.len() >= MOST || after > MOST_BYTES {
            return Err(Errno::ENOSPC);
        }
        let more = pages(after).saturating_sub(pages(before));
        if !frame::available(pages(after)) {
            return Err(Errno::ENOMEM);
        }
        if !quota.charge_pages(more) {
            return Err(Errno::ENOSPC);
        }
        let replaced = all.insert(name.to_vec(), value);
        drop(all);
        drop(replaced);
        quota.uncharge(pages(before).saturating_sub(pages(after)));
        Ok(())
    }

    fn remove(&self, quota: &Quota, name: &[u8]) -> Result<()> {
        let mut all = self.0.lock();
        let before = bytes(&all);
        let removed = all.remove(name).ok_or(Errno::ENODATA)?;
        let after = bytes(&all);
        drop(all);
        drop(removed);
        quota.uncharge(pages(before) - pages(after));
        Ok(())
    }

    /// The file goes: what was counted for it is given back.
    pub(super) fn end(&mut self, quota: &Quota) {
        let all = core::mem::take(self.0.get_mut());
        if !all.is_empty() {
            quota.uncharge(pages(bytes(&all)));
        }
    }
}

/// Sets an attribute.
pub fn set(path: &Path, name: &[u8], value: Vec<u8>, when: When) -> Result<()> {
    path.check_writable()?;
    check_permission(path, name, true)?;
    let attributes = find(path, name)?;
    check_security(name)?;
    attributes.set(&path.superblock.quota, name, value, when)?;
    path.change(|_| ());
    Ok(())
}

/// An attribute's value; ENODATA if there is no such attribute.
pub fn get(node: &Inode, name: &[u8]) -> Result<Arc<Vec<u8>>> {
    check_permission(node, name, false)?;
    find(node, name)?.0.lock().get(name).cloned().ok_or(Errno::ENODATA)
}

/// Removes an attribute.
pub fn remove(path: &Path, name: &[u8]) -> Result<()> {
    path.check_writable()?;
    check_permission(path, name, true)?;
    let attributes = find(path, name)?;
    check_security(name)?;
    attributes.remove(&path.superblock.quota, name)?;
    path.change(|_| ());
    Ok(())
}

/// The names of the attributes, each with a zero byte behind it. Those of `trusted.` are shown to the superuser alone.
pub fn list(node: &Inode) -> Vec<u8> {
    let shows_trusted = capable(capability::SYS_ADMIN);
    let mut out = Vec::new();
    for name in node.attributes.0.lock().keys() {
        if shows_trusted || namespace(name) != Namespace::Trusted {
            out.extend(name);
            out.push(0);
        }
    }
    out
}
