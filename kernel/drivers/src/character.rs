// SPDX-License-Identifier: MIT OR Apache-2.0
//! Character devices: streams of bytes in both directions.

use alloc::sync::Arc;

/// Who is told when bytes have come or there is room to send more. Called by interrupts, so it must be short.
pub trait ByteListener: Send + Sync {
    /// Look.
    fn happened(&self);
}

/// A device that sends and receives bytes.
pub trait CharDevice: Send + Sync {
    /// The name of its driver.
    fn name(&self) -> &str;

    /// Which of its kind it is, from 0.
    fn unit(&self) -> usize;

    /// Takes a byte that has come. What nobody takes stays in the device, which holds the sender back if it can.
    fn receive(&self) -> Option<u8>;

    /// Sends as many of `bytes` as there is room for; how many.
    fn send(&self, bytes: &[u8]) -> usize;

    /// How many bytes were accepted and are not sent yet.
    fn pending(&self) -> usize;

    /// Whether [`send`](Self::send) would take a byte.
    fn has_room(&self) -> bool;

    /// Forgets what is not sent yet.
    fn discard(&self);

    /// Sends everything that is pending and then `bytes`, without interrupts, and gives up on a device that takes nothing for too
    /// long: for messages that must be out before the machine goes on.
    fn send_now(&self, bytes: &[u8]);

    /// As [`send_now`](Self::send_now), after a crash: takes no lock that somebody holds, and sends nothing then.
    fn send_in_crash(&self, bytes: &[u8]);

    /// Who is told of what happens. One; the last counts.
    fn listen(&self, listener: Arc<dyn ByteListener>);
}
