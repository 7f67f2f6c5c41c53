// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of inodes in /proc. Inodes are made when they are looked up, so their numbers are computed: two looks at the same name give
//! the same number, as long as the process lives.

/// What a number belongs to; each has numbers of its own.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Class {
    /// A name in the root, or below it where no process is meant.
    Machine = 0,
    /// A name in /proc/PID.
    Process = 1,
    /// A name in /proc/PID/task/TID.
    Thread = 2,
    /// A link in a process's folder of descriptors.
    Descriptor = 3,
    /// A file in a process's `fdinfo`.
    DescriptorInfo = 4,
    /// The same two in a thread's folder.
    ThreadDescriptor = 5,
    /// See [`Class::ThreadDescriptor`].
    ThreadDescriptorInfo = 6,
    /// Settings in /proc/sys.
    Setting = 7,
    /// Files in /proc/net.
    Network = 8,
}

/// The number of entry `detail` (below 2^24) of a process or thread `owner`, 0 for the machine.
pub(super) fn number(owner: u32, class: Class, detail: usize) -> u64 {
    (u64::from(owner) << 32) | (u64::from(class as u8) << 24) | (detail as u64 & 0xff_ffff)
}

/// The root of /proc.
pub(super) const ROOT: u64 = 1;
