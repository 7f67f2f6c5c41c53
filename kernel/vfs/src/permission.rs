// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may do what with a file: its permission bits, and what only its owner may do. The rules themselves are in
//! [`exo_logic::permissions`].

use alloc::sync::Arc;

use exo_core::{
    credentials::{Credentials, Which},
    thread::{capable, running},
};
use exo_logic::{
    credentials::{Capabilities, capability},
    permissions::{self, Class},
};
use linux_raw_sys::general as abi;

pub use exo_logic::permissions::{EXECUTE, READ, WRITE};

use super::inode::{
    Inode, Metadata,
    directory::{New, What},
};
use crate::errno::{Errno, Result};

/// As whom files are used.
#[derive(Clone)]
pub struct Caller {
    /// None for who may use every file: nothing has to be looked at then.
    limited: Option<Arc<Credentials>>,
}

impl Caller {
    /// The running thread.
    #[inline]
    pub fn current() -> Self {
        let credentials = &running().credentials;
        Self { limited: if credentials.overrides_permissions() { None } else { Some(credentials.get()) } }
    }

    /// The running thread as its real user, for access(2).
    pub fn real() -> Self {
        let own = running().credentials.get();
        let (mut users, mut groups) = (own.users, own.groups);
        users.fs = users.real;
        groups.fs = groups.real;
        let effective = if users.real == 0 { own.capabilities.permitted } else { 0 };
        let capabilities = Capabilities { effective, ..own.capabilities };
        Self { limited: Some(Arc::new(Credentials { users, groups, capabilities, ..(*own).clone() })) }
    }

    /// EACCES unless names may be looked for in a directory.
    #[inline(always)]
    pub fn check_search(&self, directory: &Inode) -> Result<()> {
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
    pub fn check(&self, node: &Inode, wanted: u32) -> Result<()> {
        match &self.limited {
            None if wanted & EXECUTE == 0 || node.is_directory() || node.is_executable() => Ok(()),
            None => Err(Errno::EACCES),
            Some(credentials) => check_limited(credentials, node, wanted),
        }
    }
}

fn check_limited(credentials: &Credentials, node: &Inode, wanted: u32) -> Result<()> {
    let metadata = node.metadata();
    let class = if metadata.uid == credentials.users.fs {
        Class::Owner
    } else if is_member(credentials, metadata.gid) {
        Class::Group
    } else {
        Class::Other
    };
    let allowed =
        permissions::allows(metadata.mode, node.is_directory(), class, wanted, &credentials.capabilities);
    if allowed { Ok(()) } else { Err(Errno::EACCES) }
}

fn is_member(credentials: &Credentials, group: u32) -> bool {
    group == credentials.groups.fs || credentials.supplementary.binary_search(&group).is_ok()
}

/// EACCES unless the running thread may do all of `wanted` with the file.
#[inline]
pub fn check(node: &Inode, wanted: u32) -> Result<()> {
    Caller::current().check(node, wanted)
}

/// Whether the running thread owns the file, or may do all the same what is the owner's alone.
pub fn is_owner(node: &Inode) -> bool {
    is_user(node.metadata().uid) || capable(capability::FOWNER)
}

fn is_user(uid: u32) -> bool {
    running().credentials.id(Which::FileUser) == uid
}

/// Whether the running thread is in a group.
pub fn is_in_group(group: u32) -> bool {
    is_member(&running().credentials.get(), group)
}

/// Whether a name may be made in a directory.
pub fn check_new_name(directory: &Inode) -> Result<()> {
    check(directory, WRITE | EXECUTE)
}

/// Whether the name of `node` in a directory may be removed or given to another: EPERM if the directory has the sticky bit and both are
/// others'.
pub fn check_old_name(directory: &Inode, node: &Inode) -> Result<()> {
    check(directory, WRITE | EXECUTE)?;
    let metadata = directory.metadata();
    let is_sticky = metadata.mode & abi::S_ISVTX != 0;
    if is_sticky && !is_user(metadata.uid) && !is_user(node.metadata().uid) && !capable(capability::FOWNER) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Something new in a directory. It belongs to the running thread's user and group, and in a directory with the set-group-id bit to the
/// directory's group; a directory inherits the bit then.
pub fn owned<'a>(directory: &Inode, what: What<'a>, permissions: u32) -> New<'a> {
    let credentials = &running().credentials;
    let (uid, gid) = (credentials.id(Which::FileUser), credentials.id(Which::FileGroup));
    let mut new = New { what, mode: what.kind() | permissions, uid, gid };
    let above = directory.metadata();
    if above.mode & abi::S_ISGID == 0 {
        return new;
    }
    new.gid = above.gid;
    const RUNS_AS_GROUP: u32 = abi::S_ISGID | abi::S_IXGRP;
    if let What::Directory = what {
        new.mode |= abi::S_ISGID;
    } else if new.mode & RUNS_AS_GROUP == RUNS_AS_GROUP
        && !is_in_group(new.gid)
        && !capable(capability::FSETID)
    {
        // Nobody makes a program that runs as a group that he is not in.
        new.mode &= !abi::S_ISGID;
    }
    new
}

/// Gives something that is in no directory to the running thread.
pub fn set_first_owner(node: &Inode) {
    let credentials = &running().credentials;
    let (uid, gid) = (credentials.id(Which::FileUser), credentials.id(Which::FileGroup));
    if (uid, gid) != (0, 0) {
        node.change(|metadata| (metadata.uid, metadata.gid) = (uid, gid));
    }
}

/// Whether the running thread may give a file to `uid` and `gid`; none stands for what it has.
pub fn may_give(metadata: &Metadata, uid: Option<u32>, gid: Option<u32>) -> bool {
    if capable(capability::CHOWN) {
        return true;
    }
    let owns = is_user(metadata.uid);
    uid.is_none_or(|uid| owns && uid == metadata.uid)
        && gid.is_none_or(|gid| owns && (gid == metadata.gid || is_in_group(gid)))
}
