// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each socket has, whatever its family.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Bytes of a buffer, unless a program changes it, as on Linux (net.core.wmem_default).
pub const BUFFER: u32 = 212_992;

/// Options that every family has, and the number that a socket is known by.
#[derive(Debug)]
pub struct Common {
    /// How long a call waits to receive, in nanoseconds; 0 for no limit.
    pub receive_timeout: AtomicU64,
    /// The same for sending.
    pub send_timeout: AtomicU64,
    /// Bytes that were sent and have not been read, at most.
    pub send_buffer: AtomicU32,
    /// Bytes that wait to be read, at most, as far as the family has such a limit.
    pub receive_buffer: AtomicU32,
    /// Flags that are kept for programs that ask: a bit for each `SO_` number.
    pub kept: AtomicU64,
    /// The number of its file's inode; 0 as long as it has no file.
    pub inode: AtomicU64,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            receive_timeout: AtomicU64::new(0),
            send_timeout: AtomicU64::new(0),
            send_buffer: AtomicU32::new(BUFFER),
            receive_buffer: AtomicU32::new(BUFFER),
            kept: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }
}
