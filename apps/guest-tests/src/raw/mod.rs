// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few things that no library offers safely: ioctls with any address, system calls as a 32-bit program makes them,
//! and the C library's `rand()`. All unsafe code of this program is in here, behind a safe face.
#![expect(unsafe_code, reason = "the purpose of this module")]

mod compat;
mod files;
mod glibc;
mod memory;
mod page_faults;
mod uring;

use std::os::fd::{AsFd, AsRawFd};
use std::str::FromStr;

use rustix::io::Errno;

pub(crate) use compat::ioctl32;
pub(crate) use files::{Mapping, read, read_nowait, try_map, try_map_for};
pub(crate) use glibc::Glibc;
pub(crate) use memory::{Access, Memory, PAGE, Place};
pub(crate) use page_faults::hold_page_faults;
pub(crate) use uring::read_by_uring;

/// `ioctl(2)` with any command and an address of any kind; returns what the kernel returns.
///
/// The memory that the driver may write to is a [`Memory`]'s, to which nobody holds a reference, or none at all; so
/// this is safe for commands that read or write at most a page there and keep nothing. `my_rng`'s do, and `procmon`'s: the address of records in a
/// SNAPSHOT may only be one at which there is nothing.
pub(crate) fn ioctl(file: impl AsFd, command: u32, place: Place<'_>) -> Result<u32, Errno> {
    let address = place.address();
    // SAFETY: `address` is in memory that is only ever read through volatile accesses, or in none that this process may
    // touch, as said above.
    let result = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), command.into(), address) };
    u32::try_from(result).map_err(|_| {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        Errno::from_raw_os_error(errno)
    })
}

/// Puts the children that this process makes from now on into a time namespace of their own.
pub(crate) fn unshare_time_for_children() -> Result<(), Errno> {
    // SAFETY: Changes nothing that this process itself sees.
    match unsafe { libc::unshare(libc::CLONE_NEWTIME) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// How often this thread has gone to sleep by itself.
pub(crate) fn voluntary_switches() -> Result<i64, Errno> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: The kernel fills the structure in if it says 0.
    unsafe {
        match libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) {
            0 => Ok(usage.assume_init().ru_nvcsw),
            _ => Err(last_errno()),
        }
    }
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// Something that kills the process on kernels that lack it, and is therefore tried in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// System calls of 32-bit programs.
    Int80,
}

impl Probe {
    /// The exit status: 0 if it works.
    pub(crate) fn run(self) -> u8 {
        match self {
            Self::Int80 => u8::from(compat::getpid32() != std::process::id()),
        }
    }

    /// As it stands on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int80 => "int80",
        }
    }
}

impl FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::Int80.name() { Ok(Self::Int80) } else { Err(format!("there is no probe {text:?}")) }
    }
}
