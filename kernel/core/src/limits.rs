// SPDX-License-Identifier: MIT OR Apache-2.0
//! Resource limits (getrlimit and its family).

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Number of limits that Linux has.
pub const COUNT: usize = 16;
/// No limit.
pub const INFINITY: u64 = u64::MAX;

/// As high as the limit of open files may be raised (fs.nr_open), as on Linux.
pub const MOST_FILES: u64 = 1 << 20;

/// Limits that the kernel itself looks at.
pub mod index {
    /// CPU time in seconds.
    pub const CPU: usize = 0;
    /// Largest file that the process may write.
    pub const FSIZE: usize = 1;
    /// Size of private memory that can be written.
    pub const DATA: usize = 2;
    /// Size of the stack.
    pub const STACK: usize = 3;
    /// Bytes of a core file.
    pub const CORE: usize = 4;
    /// Resident memory; kept only, as on Linux.
    pub const RSS: usize = 5;
    /// Number of processes.
    pub const NPROC: usize = 6;
    /// Number of open files.
    pub const NOFILE: usize = 7;
    /// Bytes that may be locked in memory.
    pub const MEMLOCK: usize = 8;
    /// Size of the address space.
    pub const AS: usize = 9;
    /// Queued signals of the user.
    pub const SIGPENDING: usize = 11;
    /// Bytes in message queues; kept only.
    pub const MSGQUEUE: usize = 12;
    /// How far below 19 nice values may be made, from 0.
    pub const NICE: usize = 13;
    /// The highest real-time priority.
    pub const RTPRIO: usize = 14;
}

/// `struct rlimit64`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Limit {
    /// In force now.
    pub soft: u64,
    /// As high as `soft` may be raised.
    pub hard: u64,
}

/// All limits of a process.
pub type Limits = [Limit; COUNT];

/// The limits of the first process.
pub fn initial() -> Limits {
    let mut limits = [Limit { soft: INFINITY, hard: INFINITY }; COUNT];
    limits[index::STACK] = Limit { soft: 8 << 20, hard: INFINITY };
    limits[index::CORE] = Limit { soft: 0, hard: INFINITY };
    limits[index::NPROC] = Limit { soft: 4096, hard: 4096 };
    limits[index::NOFILE] = Limit { soft: 1024, hard: 4096 };
    limits[index::MEMLOCK] = Limit { soft: 8 << 20, hard: 8 << 20 };
    limits[index::SIGPENDING] = Limit { soft: 4096, hard: 4096 };
    limits[index::MSGQUEUE] = Limit { soft: 819_200, hard: 819_200 };
    limits[index::NICE] = Limit { soft: 0, hard: 0 };
    limits[index::RTPRIO] = Limit { soft: 0, hard: 0 };
    limits
}

/// Bounds of inotify, which the superuser may change.
pub mod inotify {
    use core::sync::atomic::AtomicUsize;

    /// Events that a queue holds.
    pub static QUEUED_EVENTS: AtomicUsize = AtomicUsize::new(16_384);
    /// Queues of a user.
    pub static USER_INSTANCES: AtomicUsize = AtomicUsize::new(128);
    /// Watches of a user; as many as Linux has with little memory.
    pub static USER_WATCHES: AtomicUsize = AtomicUsize::new(8192);
}
