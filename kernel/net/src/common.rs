// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each socket has, whatever its family.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of a buffer, unless a program changes it, as on Linux (net.core.wmem_default).
pub const BUFFER: u32 = 212_992;

/// What a datagram of `length` bytes costs who has it in a queue: about what Linux counts for one (`skb->truesize`), which is more than it takes here.
pub(crate) fn datagram_cost(length: usize) -> usize {
    256 + (length + 320).next_multiple_of(512)
}

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
        Self::with_buffers(BUFFER, BUFFER)
    }
}

impl Common {
    /// With buffers of so many bytes.
    pub fn with_buffers(send: u32, receive: u32) -> Self {
        Self {
            receive_timeout: AtomicU64::new(0),
            send_timeout: AtomicU64::new(0),
            send_buffer: AtomicU32::new(send),
            receive_buffer: AtomicU32::new(receive),
            kept: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }

    /// The same options for a socket that has come out of this one.
    pub fn inherited(&self) -> Self {
        Self {
            receive_timeout: AtomicU64::new(self.receive_timeout()),
            send_timeout: AtomicU64::new(self.send_timeout()),
            send_buffer: AtomicU32::new(self.send_buffer()),
            receive_buffer: AtomicU32::new(self.receive_buffer()),
            kept: AtomicU64::new(self.kept.load(Ordering::Relaxed)),
            inode: AtomicU64::new(0),
        }
    }

    /// How long a call waits to receive.
    pub fn receive_timeout(&self) -> u64 {
        self.receive_timeout.load(Ordering::Relaxed)
    }

    /// How long a call waits to send.
    pub fn send_timeout(&self) -> u64 {
        self.send_timeout.load(Ordering::Relaxed)
    }

    /// Bytes that were sent and have not been read, at most.
    pub fn send_buffer(&self) -> u32 {
        self.send_buffer.load(Ordering::Relaxed)
    }

    /// Bytes that wait to be read, at most.
    pub fn receive_buffer(&self) -> u32 {
        self.receive_buffer.load(Ordering::Relaxed)
    }

    /// Whether a flag among those that are kept is set.
    pub fn has(&self, option: u32) -> bool {
        self.kept.load(Ordering::Relaxed) & (1 << option) != 0
    }
}
