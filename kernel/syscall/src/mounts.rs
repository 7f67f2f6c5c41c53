// SPDX-License-Identifier: MIT OR Apache-2.0
//! mount and umount.

use alloc::vec::Vec;

use exo_hal::PAGE_SIZE;
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

use super::lookup::{node_at, node_at_unused};
use crate::{
    errno::{Errno, Result},
    fs::{
        mount::{self, KEPT},
        mounting,
        path::{self, Follow, Path},
    },
    task::credentials::capable,
    user,
};

/// What every call may have, and what changes nothing here: nothing is written later, and locks are never mandatory.
const HARMLESS: u32 = abi::MS_SILENT
    | abi::MS_SYNCHRONOUS
    | abi::MS_DIRSYNC
    | abi::MS_MANDLOCK
    | abi::MS_LAZYTIME
    | abi::MS_I_VERSION;
/// The upper half of the flags of old programs.
const MAGIC_MASK: u32 = 0xffff_0000;
const MAGIC: u32 = 0xc0ed_0000;
/// A mount that gets what happens in another, in one direction or both: there are none.
const SPREADING: u32 = abi::MS_SHARED | abi::MS_SLAVE;
const MOVEMENT: u32 = abi::MS_REMOUNT | abi::MS_BIND | abi::MS_MOVE;

fn text(address: usize) -> Result<Vec<u8>> {
    if address == 0 { Ok(Vec::new()) } else { user::read_string(address, PAGE_SIZE, Errno::EINVAL) }
}

/// The `MS_` bits that stay with the mount. Times of access are kept as MS_RELATIME says unless another way is chosen.
fn kept(flags: u32) -> u32 {
    let relative = flags & (abi::MS_NOATIME | abi::MS_STRICTATIME) == 0;
    let mut out = flags & KEPT & !(abi::MS_UNBINDABLE | abi::MS_RELATIME);
    if relative {
        out |= abi::MS_RELATIME;
    }
    out
}

/// EPERM unless the program may change what is mounted.
fn check_allowed() -> Result<()> {
    if capable(capability::SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
}

pub(super) fn mount(source: usize, target: usize, kind: usize, flags: u64, data: usize) -> Result {
    let kind_text = text(kind)?;
    let given = text(source)?;
    let data = text(data)?;
    let mut flags = flags as u32;
    if flags & MAGIC_MASK == MAGIC {
        flags &= !MAGIC_MASK;
    }
    let at = node_at(abi::AT_FDCWD, target, 0)?;
    check_allowed()?;
    let known = KEPT | HARMLESS | MOVEMENT | SPREADING | abi::MS_PRIVATE | abi::MS_REC | abi::MS_STRICTATIME;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & abi::MS_REMOUNT != 0 {
        if !at.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        if flags & abi::MS_BIND != 0 {
            at.mount.set_flags(kept(flags))?;
        } else {
            mounting::remount(&at.mount, kept(flags), &data)?;
        }
    } else if flags & abi::MS_BIND != 0 {
        mount::bind(&place(&given)?, at, flags & abi::MS_REC != 0)?;
    } else if flags & (SPREADING | abi::MS_PRIVATE | abi::MS_UNBINDABLE) != 0 {
        change_type(&at.mount, at.is_mount_root(), flags)?;
    } else if flags & abi::MS_MOVE != 0 {
        mount::move_to(&place(&given)?, at)?;
    } else {
        if kind == 0 {
            return Err(Errno::EINVAL);
        }
        let source = if source == 0 { b"none" } else { &given[..] };
        mounting::mount(source, at, &kind_text, kept(flags), &data)?;
    }
    Ok(0)
}

fn place(path: &[u8]) -> Result<Path> {
    if path.is_empty() { Err(Errno::EINVAL) } else { path::resolve(None, path, Follow::Yes) }
}

/// Whether what happens in a mount happens in others too: never. Private mounts are all that there are.
fn change_type(mount: &mount::Mount, is_root: bool, flags: u32) -> Result<()> {
    if !is_root {
        return Err(Errno::EINVAL);
    }
    match flags & !(HARMLESS | abi::MS_REC) {
        abi::MS_PRIVATE => mount.make_private(),
        abi::MS_UNBINDABLE => mount.make_unbindable(),
        // Nobody's slave, so it stays private.
        abi::MS_SLAVE => {}
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

pub(super) fn umount2(target: usize, flags: u32) -> Result {
    const FORCE: u32 = 1;
    const DETACH: u32 = 2;
    const EXPIRE: u32 = 4;
    const NO_FOLLOW: u32 = 8;
    if flags & !(FORCE | DETACH | EXPIRE | NO_FOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    check_allowed()?;
    let at_flags = if flags & NO_FOLLOW != 0 { abi::AT_SYMLINK_NOFOLLOW } else { 0 };
    let path = node_at_unused(abi::AT_FDCWD, target, at_flags)?;
    if flags & EXPIRE != 0 && flags & (FORCE | DETACH) != 0 {
        return Err(Errno::EINVAL);
    }
    mount::unmount(path, flags & DETACH != 0, flags & EXPIRE != 0).map(|()| 0)
}
