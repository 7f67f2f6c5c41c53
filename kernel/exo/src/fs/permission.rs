// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may do what with a file: its permission bits, and what only its owner may do. The rules themselves are in
//! [`exo_logic::permissions`].

use alloc::sync::Arc;

use exo_logic::{
    credentials::{Capabilities, capability},
    permissions::{self, Class},
};
use linux_raw_sys::general as abi;

pub use exo_logic::permissions::{EXECUTE, READ, WRITE};

use super::node::{Meta, Node, kind};
use crate::{
    errno::{Errno, Result},
    task::{
        Credentials,
        credentials::{Which, capable},
        current,
    },
};

/// As whom files are used.
pub struct Caller {
    /// None for who may use every file: nothing has to be looked at then.
    limited: Option<Arc<Credentials>>,
}

impl Caller {
    /// The running thread.
    #[inline]
    pub fn current() -> Self {
        let credentials = &current().credentials;
        Self { limited: if credentials.overrides_permissions() { None } else { Some(credentials.get()) } }
    }

    /// The running thread as its real user, for access(2).
    pub fn real() -> Self {
        let own = current().credentials.get();
        let (mut users, mut groups) = (own.users, own.groups);
        users.fs = users.real;
        groups.fs = groups.real;
        let effective = if users.real == 0 { own.capabilities.permitted } else { 0 };
        let capabilities = Capabilities { effective, ..own.capabilities };
        Self { limited: Some(Arc::new(Credentials { users, groups, capabilities, ..(*own).clone() })) }
    }

    /// EACCES unless names may be looked for in a directory.
    #[inline(always)]
    pub fn check_search(&self, directory: &Node) -> Result<()> {
        match &self.limited {
            None => Ok(()),
            Some(credentials) => check_limited(credentials, directory, EXECUTE),
        }
    }

    /// Whether permission bits do not count for reading and writing.
    #[inline(always)]
    pub fn is_exempt(&self) -> bool {
        self.limited.is_none()
    }

    /// EACCES unless all of `wanted` ([`READ`], [`WRITE`], [`EXECUTE`]) is allowed.
    #[inline]
    pub fn check(&self, node: &Node, wanted: u32) -> Result<()> {
        match &self.limited {
            None if wanted & EXECUTE == 0 || node.is_directory() || node.is_executable() => Ok(()),
            None => Err(Errno::EACCES),
            Some(credentials) => check_limited(credentials, node, wanted),
        }
    }
}

fn check_limited(credentials: &Credentials, node: &Node, wanted: u32) -> Result<()> {
    let meta = node.meta();
    let class = if meta.uid == credentials.users.fs {
        Class::Owner
    } else if is_member(credentials, meta.gid) {
        Class::Group
    } else {
        Class::Other
    };
    let allowed =
        permissions::allows(meta.mode, node.is_directory(), class, wanted, &credentials.capabilities);
    if allowed { Ok(()) } else { Err(Errno::EACCES) }
}

fn is_member(credentials: &Credentials, group: u32) -> bool {
    group == credentials.groups.fs || credentials.supplementary.binary_search(&group).is_ok()
}

/// EACCES unless the running thread may do all of `wanted` with the file.
#[inline]
pub fn check(node: &Node, wanted: u32) -> Result<()> {
    Caller::current().check(node, wanted)
}

/// Whether the running thread owns the file, or may do all the same what is the owner's alone.
pub fn is_owner(node: &Node) -> bool {
    is_user(node.meta().uid) || capable(capability::FOWNER)
}

fn is_user(uid: u32) -> bool {
    current().credentials.id(Which::FileUser) == uid
}

/// Whether the running thread is in a group.
pub fn is_in_group(group: u32) -> bool {
    is_member(&current().credentials.get(), group)
}

/// Whether a name may be made in a directory.
pub fn check_new_name(directory: &Node) -> Result<()> {
    check(directory, WRITE | EXECUTE)
}

/// Whether the name of `node` in a directory may be removed or given to another: EPERM if the directory has the sticky bit and both are
/// others'.
pub fn check_old_name(directory: &Node, node: &Node) -> Result<()> {
    check(directory, WRITE | EXECUTE)?;
    let meta = directory.meta();
    let is_sticky = meta.mode & abi::S_ISVTX != 0;
    if is_sticky && !is_user(meta.uid) && !is_user(node.meta().uid) && !capable(capability::FOWNER) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Who a new file belongs to: the running thread's user and group, and in a directory with the set-group-id bit the directory's group;
/// a directory inherits the bit then.
pub fn set_first_owner(node: &Node, directory: Option<&Node>) {
    let credentials = &current().credentials;
    let (uid, mut gid) = (credentials.id(Which::FileUser), credentials.id(Which::FileGroup));
    let above = directory.map(Node::meta).filter(|above| above.mode & abi::S_ISGID != 0);
    if let Some(above) = above {
        gid = above.gid;
    }
    if uid == 0 && gid == 0 && above.is_none() {
        return;
    }
    let strips = above.is_some() && !is_in_group(gid) && !capable(capability::FSETID);
    node.change(|meta| {
        meta.uid = uid;
        meta.gid = gid;
        let runs_as_group = meta.mode & (abi::S_ISGID | abi::S_IXGRP) == abi::S_ISGID | abi::S_IXGRP;
        match meta.mode & kind::MASK {
            kind::DIRECTORY if above.is_some() => meta.mode |= abi::S_ISGID,
            kind::DIRECTORY => {}
            // Nobody makes a program that runs as a group that he is not in.
            _ if strips && runs_as_group => meta.mode &= !abi::S_ISGID,
            _ => {}
        }
    });
}

/// Whether the running thread may give a file to `uid` and `gid`; none stands for what it has.
pub fn may_give(meta: &Meta, uid: Option<u32>, gid: Option<u32>) -> bool {
    if capable(capability::CHOWN) {
        return true;
    }
    let owns = is_user(meta.uid);
    uid.is_none_or(|uid| owns && uid == meta.uid)
        && gid.is_none_or(|gid| owns && (gid == meta.gid || is_in_group(gid)))
}
