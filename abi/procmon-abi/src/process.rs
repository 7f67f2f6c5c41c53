// SPDX-License-Identifier: MIT OR Apache-2.0
//! One process of a snapshot.

/// A process as [`crate::ioctl::SNAPSHOT`] tells it: what `/proc/PID/stat` and `/proc/PID/status` tell everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// The process, as a number of the caller's PID namespace. The same as `tgid`: threads have no records.
    pub pid: i32,
    /// The process once more, in the kernel's terms: the thread group.
    pub tgid: i32,
    /// Its parent; 0 if that is outside of the caller's PID namespace.
    pub ppid: i32,
    /// Its real user, as a number of the caller's user namespace (65534 for one that has none there).
    pub uid: u32,
    /// State of its first thread, see [`state`].
    pub state: u32,
    /// How many threads it has.
    pub threads: u32,
    /// Its name, filled up with zeros, of which there is at least one.
    pub comm: [u8; 16],
    /// Size of the address space in bytes; 0 for kernel threads and zombies.
    pub vsize: u64,
    /// Memory that is resident, in bytes; 0 for kernel threads and zombies.
    pub rss: u64,
    /// Time that it ran in user mode, in nanoseconds.
    pub utime: u64,
    /// Time that it ran in the kernel, in nanoseconds.
    pub stime: u64,
    /// When it started, in nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub start: u64,
}

/// Size of a [`Record`] in bytes.
pub const RECORD_SIZE: usize = 80;
const _: () = assert!(size_of::<Record>() == RECORD_SIZE);

/// The states of a process: `TASK_…` and `EXIT_…` of `include/linux/sched.h`, reduced to those that `/proc` tells apart.
pub mod state {
    /// Runs, or waits for a processor.
    pub const RUNNING: u32 = 0x00;
    /// Sleeps until something happens or a signal comes.
    pub const INTERRUPTIBLE: u32 = 0x01;
    /// Sleeps, and no signal wakes it.
    pub const UNINTERRUPTIBLE: u32 = 0x02;
    /// Stopped by a signal.
    pub const STOPPED: u32 = 0x04;
    /// Stopped by its debugger.
    pub const TRACED: u32 = 0x08;
    /// Ended, and is being removed.
    pub const DEAD: u32 = 0x10;
    /// Ended, and nobody has waited for it yet.
    pub const ZOMBIE: u32 = 0x20;
    /// A kernel thread that was put aside.
    pub const PARKED: u32 = 0x40;
    /// A kernel thread that has nothing to do.
    pub const IDLE: u32 = 0x80;

    /// The letter that `/proc/PID/stat` shows for a state.
    #[must_use]
    pub const fn letter(state: u32) -> char {
        match state {
            RUNNING => 'R',
            INTERRUPTIBLE => 'S',
            UNINTERRUPTIBLE => 'D',
            STOPPED => 'T',
            TRACED => 't',
            DEAD => 'X',
            ZOMBIE => 'Z',
            PARKED => 'P',
            IDLE => 'I',
            _ => '?',
        }
    }
}
