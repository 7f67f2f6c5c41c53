// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes with a signal.

use core::ops::RangeInclusive;

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

/// Which fields have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// si_pid and si_uid.
    Sender,
    /// The same and si_value.
    Queued,
    /// si_timerid and si_overrun, si_value.
    Timer,
    /// si_band, si_fd.
    File,
    /// si_addr.
    Fault,
    /// si_pid and si_uid, si_status, si_utime, si_stime.
    Child,
}

impl Info {
    /// Which fields have a meaning, as number and code say.
    pub fn layout(&self) -> Layout {
        /// SI_SIGIO, an old code of O_ASYNC.
        const SIGIO: i32 = -5;
        /// The codes of SIGIO, which comes as any signal with F_SETSIG (NSIGPOLL).
        const OF_FILES: RangeInclusive<i32> = 1..=6;
        /// Codes of faults, of which each signal has a few.
        const OF_FAULTS: RangeInclusive<i32> = 1..=15;
        match (self.signal as u32, self.code) {
            (_, code::TIMER) => Layout::Timer,
            (_, SIGIO) => Layout::File,
            (_, code) if code < 0 => Layout::Queued,
            (number::SIGCHLD, code::CLD_EXITED..=code::CLD_CONTINUED) => Layout::Child,
            (number::SIGILL | number::SIGFPE | number::SIGSEGV | number::SIGBUS | number::SIGTRAP, code)
                if OF_FAULTS.contains(&code) =>
            {
                Layout::Fault
            }
            (_, code) if OF_FILES.contains(&code) => Layout::File,
            _ => Layout::Sender,
        }
    }

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
