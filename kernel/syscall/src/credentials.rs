// SPDX-License-Identifier: MIT OR Apache-2.0
//! For whom a thread acts: user and group ids, supplementary groups, capabilities. The rules are in [`exo_logic::credentials`].

use alloc::sync::Arc;

use exo_logic::credentials::{Denied, Ids, UNCHANGED, capability};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    fallible,
    task::{
        Credentials,
        credentials::{self, GROUPS_MAX, Which, capable},
        current, table,
    },
    user,
};

pub(super) fn getuid() -> Result {
    Ok(current().credentials.id(Which::User) as usize)
}

pub(super) fn geteuid() -> Result {
    Ok(current().credentials.id(Which::EffectiveUser) as usize)
}

pub(super) fn getgid() -> Result {
    Ok(current().credentials.id(Which::Group) as usize)
}

pub(super) fn getegid() -> Result {
    Ok(current().credentials.id(Which::EffectiveGroup) as usize)
}

fn change_users(change: impl FnOnce(Ids, bool) -> core::result::Result<Ids, Denied>) -> Result {
    let task = current();
    let old = task.credentials.get();
    let users = change(old.users, old.has(capability::SETUID))?;
    credentials::commit(&task, old.with_users(users));
    Ok(0)
}

fn change_groups(change: impl FnOnce(Ids, bool) -> core::result::Result<Ids, Denied>) -> Result {
    let task = current();
    let old = task.credentials.get();
    let groups = change(old.groups, old.has(capability::SETGID))?;
    credentials::commit(&task, Credentials { groups, ..(*old).clone() });
    Ok(0)
}

/// -1 is nobody's id.
fn is_id(id: u32) -> Result<()> {
    if id == UNCHANGED { Err(Errno::EINVAL) } else { Ok(()) }
}

pub(super) fn setuid(id: u32) -> Result {
    is_id(id)?;
    change_users(|ids, privileged| ids.set(id, privileged))
}

pub(super) fn setgid(id: u32) -> Result {
    is_id(id)?;
    change_groups(|ids, privileged| ids.set(id, privileged))
}

pub(super) fn setreuid(real: u32, effective: u32) -> Result {
    change_users(|ids, privileged| ids.set_two(real, effective, privileged))
}

pub(super) fn setregid(real: u32, effective: u32) -> Result {
    change_groups(|ids, privileged| ids.set_two(real, effective, privileged))
}

pub(super) fn setresuid(real: u32, effective: u32, saved: u32) -> Result {
    change_users(|ids, privileged| ids.set_three(real, effective, saved, privileged))
}

pub(super) fn setresgid(real: u32, effective: u32, saved: u32) -> Result {
    change_groups(|ids, privileged| ids.set_three(real, effective, saved, privileged))
}

/// Returns the id that was set before, whether it could be changed or not.
pub(super) fn setfsuid(id: u32) -> Result {
    let task = current();
    let old = task.credentials.get();
    let users = old.users.set_fs(id, old.has(capability::SETUID));
    if users != old.users {
        let capabilities = old.capabilities.after_file_user(old.users.fs, users.fs);
        credentials::commit(&task, Credentials { users, capabilities, ..(*old).clone() });
    }
    Ok(old.users.fs as usize)
}

/// As [`setfsuid`].
pub(super) fn setfsgid(id: u32) -> Result {
    let task = current();
    let old = task.credentials.get();
    let groups = old.groups.set_fs(id, old.has(capability::SETGID));
    if groups != old.groups {
        credentials::commit(&task, Credentials { groups, ..(*old).clone() });
    }
    Ok(old.groups.fs as usize)
}

fn write_ids(ids: Ids, to: [usize; 3]) -> Result {
    for (address, id) in to.into_iter().zip([ids.real, ids.effective, ids.saved]) {
        user::write(address, &id)?;
    }
    Ok(0)
}

pub(super) fn getresuid(real: usize, effective: usize, saved: usize) -> Result {
    write_ids(current().credentials.get().users, [real, effective, saved])
}

pub(super) fn getresgid(real: usize, effective: usize, saved: usize) -> Result {
    write_ids(current().credentials.get().groups, [real, effective, saved])
}

pub(super) fn getgroups(count: i32, to: usize) -> Result {
    let credentials = current().credentials.get();
    let groups = &credentials.supplementary;
    let room = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    if room > 0 {
        if room < groups.len() {
            return Err(Errno::EINVAL);
        }
        user::copy_out(to, groups.as_slice().as_bytes())?;
    }
    Ok(groups.len())
}

pub(super) fn setgroups(count: usize, from: usize) -> Result {
    if !capable(capability::SETGID) {
        return Err(Errno::EPERM);
    }
    // The C library hands over an int.
    let count = count as u32 as usize;
    if count > GROUPS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut groups = fallible::list(count)?;
    groups.resize(count, 0u32);
    user::copy_in(groups.as_mut_bytes(), from)?;
    if groups.contains(&UNCHANGED) {
        return Err(Errno::EINVAL);
    }
    groups.sort_unstable();
    let task = current();
    let old = task.credentials.get();
    credentials::commit(&task, Credentials { supplementary: Arc::new(groups), ..(*old).clone() });
    Ok(0)
}

/// `struct __user_cap_header_struct`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// Effective, permitted, inheritable: 32 capabilities.
type CapabilityData = [u32; 3];

/// Versions of the structures: with 32 capabilities, and with 64, twice.
const VERSIONS: [u32; 3] = [0x1998_0330, 0x2007_1026, 0x2008_0522];

/// Reads the header, and says how many parts of data there are. A version that there is not is answered with the newest.
fn read_header(address: usize) -> Result<(CapabilityHeader, usize)> {
    let header: CapabilityHeader = user::read(address)?;
    match VERSIONS.iter().position(|version| *version == header.version) {
        Some(0) => Ok((header, 1)),
        Some(_) => Ok((header, 2)),
        None => {
            user::write(address, &VERSIONS[2])?;
            Err(Errno::EINVAL)
        }
    }
}

pub(super) fn capget(header: usize, data: usize) -> Result {
    let (header, parts) = match read_header(header) {
        // Asked for the version alone.
        Err(Errno::EINVAL) if data == 0 => return Ok(0),
        other => other?,
    };
    if data == 0 {
        return Ok(0);
    }
    let sets = match header.pid {
        ..0 => return Err(Errno::EINVAL),
        0 => current().credentials.get(),
        tid => table::task(tid as u32).ok_or(Errno::ESRCH)?.credentials.get(),
    };
    let sets = sets.capabilities;
    for part in 0..parts {
        let half = |set: u64| (set >> (32 * part)) as u32;
        let halves = [half(sets.effective), half(sets.permitted), half(sets.inheritable)];
        user::write(data.wrapping_add(part * size_of::<CapabilityData>()), &halves)?;
    }
    Ok(0)
}

pub(super) fn capset(header: usize, data: usize) -> Result {
    let (header, parts) = read_header(header)?;
    let task = current();
    if header.pid != 0 && header.pid as u32 != task.tid() {
        return Err(Errno::EPERM);
    }
    let mut sets = [0u64; 3];
    for part in 0..parts {
        let halves: CapabilityData = user::read(data.wrapping_add(part * size_of::<CapabilityData>()))?;
        for (set, half) in sets.iter_mut().zip(halves) {
            *set |= u64::from(half) << (32 * part);
        }
    }
    let [effective, permitted, inheritable] = sets.map(|set| set & capability::ALL);
    let old = task.credentials.get();
    let capabilities = old.capabilities.set(effective, permitted, inheritable)?;
    credentials::commit(&task, Credentials { capabilities, ..(*old).clone() });
    Ok(0)
}

/// PR_CAPBSET_READ.
pub(super) fn bounds(capability: usize) -> Result {
    if capability > capability::LAST as usize {
        return Err(Errno::EINVAL);
    }
    Ok(((current().credentials.get().capabilities.bounding >> capability) & 1) as usize)
}

/// PR_CAPBSET_DROP.
pub(super) fn drop_bound(capability: usize) -> Result {
    if !capable(capability::SETPCAP) {
        return Err(Errno::EPERM);
    }
    if capability > capability::LAST as usize {
        return Err(Errno::EINVAL);
    }
    let task = current();
    let old = task.credentials.get();
    let mut capabilities = old.capabilities;
    capabilities.bounding &= !(1 << capability);
    credentials::commit(&task, Credentials { capabilities, ..(*old).clone() });
    Ok(0)
}
