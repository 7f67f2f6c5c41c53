// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes of files, as Linux's tmpfs has them: `user.`, `trusted.` and `security.`. No access-control lists.

use alloc::{sync::Arc, vec::Vec};

use exo_core::thread::capable;
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

pub use super::attributes::When;
use super::{
    attributes::Attributes,
    inode::{Inode, kind},
    mount::Path,
    notify, permission,
};
use crate::errno::{Errno, Result};

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
    if !node.system.holds_attributes() {
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

/// Sets an attribute.
pub fn set(path: &Path, name: &[u8], value: Vec<u8>, when: When) -> Result<()> {
    path.check_writable()?;
    check_permission(path, name, true)?;
    let attributes = find(path, name)?;
    check_security(name)?;
    attributes.set(&path.superblock.quota, name, value, when)?;
    path.change(|_| ());
    notify::changed(&path.dentry, abi::IN_ATTRIB);
    Ok(())
}

/// An attribute's value; ENODATA if there is no such attribute.
pub fn get(node: &Inode, name: &[u8]) -> Result<Arc<Vec<u8>>> {
    check_permission(node, name, false)?;
    find(node, name)?.get(name).ok_or(Errno::ENODATA)
}

/// Removes an attribute.
pub fn remove(path: &Path, name: &[u8]) -> Result<()> {
    path.check_writable()?;
    check_permission(path, name, true)?;
    let attributes = find(path, name)?;
    check_security(name)?;
    attributes.remove(&path.superblock.quota, name)?;
    path.change(|_| ());
    notify::changed(&path.dentry, abi::IN_ATTRIB);
    Ok(())
}

/// The names of the attributes, each with a zero byte behind it. Those of `trusted.` are shown to the superuser alone.
pub fn list(node: &Inode) -> Vec<u8> {
    let shows_trusted = capable(capability::SYS_ADMIN);
    let mut out = Vec::new();
    node.attributes.names(|name| {
        if shows_trusted || namespace(name) != Namespace::Trusted {
            out.extend(name);
            out.push(0);
        }
    });
    out
}
