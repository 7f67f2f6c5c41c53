// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serial ports as long as no driver has them: what the kernel sends is kept for a test to read.

use parking_lot::Mutex;

/// Bytes of output that are kept; what comes later is lost.
const MOST: usize = 1 << 20;

/// One port.
pub struct Serial {
    sent: Mutex<Vec<u8>>,
}

impl Serial {
    const fn new() -> Self {
        Self { sent: Mutex::new(Vec::new()) }
    }

    /// Whether the port exists.
    pub fn is_present(&self) -> bool {
        true
    }

    /// Sends a byte.
    pub fn put(&self, byte: u8) {
        let mut sent = self.sent.lock();
        if sent.len() < MOST {
            sent.push(byte);
        }
    }

    /// For tests: what was sent since it was asked.
    pub fn take_sent(&self) -> Vec<u8> {
        std::mem::take(&mut *self.sent.lock())
    }
}

/// COM1 to COM4.
pub static PORTS: [Serial; 4] = [const { Serial::new() }; 4];
/// The kernel's log and console.
pub static CONSOLE: &Serial = &PORTS[0];
