// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `ioctl` interface: command numbers and the structures behind their arguments.
//!
//! The numbers are those that Linux's `_IO('P', …)`, `_IOR`, `_IOW` and `_IOWR` give
//! (`include/uapi/asm-generic/ioctl.h`): direction in bits 31–30, argument size in bits 29–16, type in bits 15–8, number
//! in bits 7–0. A structure of another size therefore is another command. That is how the driver tells 32-bit programs,
//! whose `unsigned long` is shorter, from others: [`GET_STATS_32`] and [`QUERY_PID_32`] are theirs.

/// The `ioctl` type (magic) byte of this interface: `'P'`.
pub const MAGIC: u8 = b'P';

const NONE: u32 = 0; // No argument (`_IOC_NONE`).
const WRITE: u32 = 1; // The program writes to the driver (`_IOC_WRITE`).
const READ: u32 = 2; // The program reads from the driver (`_IOC_READ`).

const fn command<T>(direction: u32, number: u8) -> u32 {
    // CAST: All arguments of this interface are a few bytes long.
    (direction << 30) | ((size_of::<T>() as u32) << 16) | ((MAGIC as u32) << 8) | number as u32
}

/// Sets the operation counters to zero: `_IO('P', 0)`. The message and the filter stay.
pub const RESET: u32 = command::<()>(NONE, 0);
/// Length of the message in bytes: `_IOR('P', 1, int)`.
pub const GET_COUNT: u32 = command::<i32>(READ, 1);
/// The operation counters and the filter: `_IOR('P', 2, struct procmon_stats)`.
pub const GET_STATS: u32 = command::<Stats>(READ, 2);
/// [`GET_STATS`] of a 32-bit program.
pub const GET_STATS_32: u32 = command::<Stats32>(READ, 2);
/// Whose events are recorded: `_IOW('P', 3, int)`. The number of a process, which stands for it and its descendants, or
/// 0 for all.
pub const SET_FILTER: u32 = command::<i32>(WRITE, 3);
/// Looks a process or thread up: `_IOWR('P', 4, struct procmon_query)`.
pub const QUERY_PID: u32 = command::<Query>(READ | WRITE, 4);
/// [`QUERY_PID`] of a 32-bit program.
pub const QUERY_PID_32: u32 = command::<Query32>(READ | WRITE, 4);
/// All processes at once: `_IOWR('P', 5, struct procmon_snapshot)`.
pub const SNAPSHOT: u32 = command::<Snapshot>(READ | WRITE, 5);

/// On `/dev/procmon_events`: forgets the events that this file has not read yet: `_IO('P', 16)`. A program that reads
/// the mapped rings calls it before it looks into them, and can then `poll` for what comes after.
pub const EVENTS_SKIP: u32 = command::<()>(NONE, 16);
/// On `/dev/procmon_events`: how many events `read` on this file has lost in total: `_IOR('P', 17, __u64)`.
pub const EVENTS_LOST: u32 = command::<u64>(READ, 17);

const _: () = assert!(
    RESET == 0x5000
        && GET_COUNT == 0x8004_5001
        && SET_FILTER == 0x4004_5003
        && SNAPSHOT == 0xc010_5005
        && GET_STATS_32 == 0x8014_5002
        && QUERY_PID_32 == 0xc01c_5004
        && EVENTS_SKIP == 0x5010
        && EVENTS_LOST == 0x8008_5011
);

/// A 64-bit program's `struct procmon_stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stats {
    /// `open(2)` calls that succeeded.
    pub total_opens: u64,
    /// `read(2)` calls and their relatives, successful or not.
    pub total_reads: u64,
    /// `write(2)` calls and their relatives, successful or not.
    pub total_writes: u64,
    /// `ioctl(2)` calls, successful or not, the one that fills this in included.
    pub total_ioctls: u64,
    /// What [`SET_FILTER`] has set, as a number of the caller's PID namespace: 0 follows all, −1 is a process that the
    /// caller cannot see.
    pub current_filter_pid: i32,
    /// Zero.
    pub padding: u32,
}

/// A 32-bit program's `struct procmon_stats`. Counts that do not fit are [`u32::MAX`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stats32 {
    /// As [`Stats::total_opens`].
    pub total_opens: u32,
    /// As [`Stats::total_reads`].
    pub total_reads: u32,
    /// As [`Stats::total_writes`].
    pub total_writes: u32,
    /// As [`Stats::total_ioctls`].
    pub total_ioctls: u32,
    /// As [`Stats::current_filter_pid`].
    pub current_filter_pid: i32,
}

impl From<Stats> for Stats32 {
    fn from(stats: Stats) -> Self {
        Self {
            total_opens: saturated(stats.total_opens),
            total_reads: saturated(stats.total_reads),
            total_writes: saturated(stats.total_writes),
            total_ioctls: saturated(stats.total_ioctls),
            current_filter_pid: stats.current_filter_pid,
        }
    }
}

/// A 64-bit program's `struct procmon_query`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Query {
    /// In: a process or thread, as a number of the caller's PID namespace. Unchanged on return.
    pub pid: i32,
    /// Out: its name, filled up with zeros, of which there is at least one. Empty if there is no such process.
    pub comm: [u8; 16],
    /// Out: its state as the kernel's numbers say ([`crate::process::state`]), or −1 if there is no such process.
    pub state: i32,
    /// Out: size of its address space in bytes; 0 for kernel threads, zombies, and if there is no such process.
    pub vsize: u64,
}

/// A 32-bit program's `struct procmon_query`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Query32 {
    /// As [`Query::pid`].
    pub pid: i32,
    /// As [`Query::comm`].
    pub comm: [u8; 16],
    /// As [`Query::state`].
    pub state: i32,
    /// As [`Query::vsize`]; what does not fit is [`u32::MAX`].
    pub vsize: u32,
}

impl From<Query> for Query32 {
    fn from(query: Query) -> Self {
        Self { pid: query.pid, comm: query.comm, state: query.state, vsize: saturated(query.vsize) }
    }
}

/// The argument of [`SNAPSHOT`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Snapshot {
    /// In: address of an array of [`crate::process::Record`].
    pub records: u64,
    /// In: how many records the array has room for.
    pub capacity: u32,
    /// Out: how many processes there are. With `ENOSPC` that is more than `capacity`, and the array was not touched.
    pub count: u32,
}

fn saturated(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
