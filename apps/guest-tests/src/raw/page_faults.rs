// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory whose page faults wait until somebody says so: `userfaultfd(2)`.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::mm::{UserfaultfdFlags, userfaultfd};

use super::memory::{Memory, PAGE, Place};

/// `UFFDIO_API` and `UFFDIO_REGISTER` (`linux/userfaultfd.h`), as `_IOWR(0xaa, NUMBER, STRUCTURE)` makes them.
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;

/// `UFFD_API`.
const API: u64 = 0xaa;
/// `UFFDIO_REGISTER_MODE_MISSING`.
const MODE_MISSING: u64 = 1;

/// Whoever touches the first page of `memory`, which nobody has touched yet, waits until the descriptor is closed; it becomes readable
/// when somebody does.
pub(crate) fn hold_page_faults(memory: &Memory) -> Result<OwnedFd, Errno> {
    let start = u64::try_from(Place::In(memory, 0).address()).map_err(|_| Errno::FAULT)?;
    // SAFETY: What it lets see and do concerns that page, which is only ever read through volatile accesses.
    let faults = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK) }?;
    // `struct uffdio_api`: the version, features, and what can be done.
    change(&faults, UFFDIO_API, &mut [API, 0, 0])?;
    // `struct uffdio_register`: start, length, mode, and what can be done.
    change(&faults, UFFDIO_REGISTER, &mut [start, PAGE as u64, MODE_MISSING, 0])?;
    Ok(faults)
}

fn change<const N: usize>(
    faults: &OwnedFd,
    command: libc::c_ulong,
    argument: &mut [u64; N],
) -> Result<(), Errno> {
    // SAFETY: Both commands read and write a structure of so many u64, of which all values are valid.
    match unsafe { libc::ioctl(faults.as_raw_fd(), command, argument.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(super::last_errno()),
    }
}
