// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes with a signal.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{code, number};

/// `siginfo_t`, of which the kernel sets the parts that all signals here need.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Info {
    /// si_signo.
    pub signal: i32,
    /// si_errno.
    pub errno: i32,
    /// si_code.
    pub code: i32,
    pad: i32,
    /// si_pid and si_uid, or si_addr.
    pub fields: [u64; 14],
}

impl Info {
    /// A signal that the kernel sends.
    pub fn kernel(signal: u32) -> Self {
        Self { signal: signal as i32, errno: 0, code: code::KERNEL, pad: 0, fields: [0; 14] }
    }

    /// A signal that a process of user `uid` sends: `code` says with which call.
    pub fn sent_by(pid: u32, uid: u32, signal: u32, code: i32) -> Self {
        let mut info = Self { code, ..Self::kernel(signal) };
        info.fields[0] = u64::from(pid) | (u64::from(uid) << 32);
        info
    }

    /// A fault at `address`.
    pub fn fault(signal: u32, code: i32, address: usize) -> Self {
        let mut info = Self { code, ..Self::kernel(signal) };
        info.fields[0] = address as u64;
        info
    }

    /// The signal of a POSIX timer.
    pub fn timer(signal: u32, id: u32, overrun: u32, value: u64) -> Self {
        let mut info = Self { code: code::TIMER, ..Self::kernel(signal) };
        info.fields[0] = u64::from(id) | (u64::from(overrun) << 32);
        info.fields[1] = value;
        info
    }

    /// SIGCHLD about a child of user `uid` with `status`.
    pub fn child(pid: u32, uid: u32, code: i32, status: u32) -> Self {
        let mut info = Self { code, ..Self::kernel(number::SIGCHLD) };
        info.fields[0] = u64::from(pid) | (u64::from(uid) << 32);
        info.fields[1] = u64::from(status);
        info
    }
}
