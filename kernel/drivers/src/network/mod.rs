// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network devices: frames to and from other machines; and the interfaces that give them addresses ([`interface`]).

mod answers;
mod arrivals;
mod classify;
mod datagrams;
mod half_open;
pub mod icmp;
pub mod interface;
mod link;
pub mod loopback;
mod places;
pub mod sockets;
mod streams;
#[cfg(test)]
mod tests;

pub use self::arrivals::{Answer, Arrived, Datagram, Request};

use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use alloc::{sync::Arc, vec::Vec};

/// Bytes of an Ethernet header: two addresses and a type.
pub const ETHERNET_HEADER: usize = 14;
/// Most bytes of a frame: what Ethernet carries, and its header. The check sequence is the device's business.
pub const FRAME_MAX: usize = 1500 + ETHERNET_HEADER;

/// When what was interrupted goes on, in nanoseconds.
const SOON_NS: u64 = 100_000;

/// Why a frame cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// It is longer than the device sends.
    TooLong,
    /// The device has as many frames as it can hold; later there is room again.
    QueueFull,
    /// The device does not answer any more, or was stopped.
    Gone,
    /// No interface reaches this address.
    Unreachable,
    /// There is a connection between these two places.
    InUse,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the frame is too long",
            Self::QueueFull => "the device's queue is full",
            Self::Gone => "the device does not answer",
            Self::Unreachable => "no interface reaches this address",
            Self::InUse => "there is a connection with these addresses",
        })
    }
}

impl core::error::Error for NetworkError {}

/// What a device is counting.
#[derive(Debug, Default)]
pub struct Counters {
    frames: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
    errors: [AtomicU64; 2],
    dropped: [AtomicU64; 2],
}

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the network.
    In,
    /// To the network.
    Out,
}

/// [`Counters`] of one direction at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were not as they should be.
    pub errors: u64,
    /// Frames that there was no room for.
    pub dropped: u64,
}

impl Counters {
    /// A frame of so many bytes went its way.
    #[inline]
    pub fn count(&self, direction: Direction, bytes: usize) {
        self.frames[direction as usize].fetch_add(1, Ordering::Relaxed);
        self.bytes[direction as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A frame was not as it should be.
    pub fn count_error(&self, direction: Direction) {
        self.errors[direction as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// There was no room for a frame.
    pub fn count_dropped(&self, direction: Direction) {
        self.dropped[direction as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn of(&self, direction: Direction) -> Counts {
        let get = |counters: &[AtomicU64; 2]| counters[direction as usize].load(Ordering::Relaxed);
        Counts {
            frames: get(&self.frames),
            bytes: get(&self.bytes),
            errors: get(&self.errors),
            dropped: get(&self.dropped),
        }
    }
}

/// Who is told when frames have come or there is room to send again. Called by interrupts, so it must be short.
pub trait FrameListener: Send + Sync {
    /// Look.
    fn happened(&self);
}

/// A device that sends and receives frames.
pub trait NetworkDevice: Send + Sync {
    /// The name of its driver.
    fn name(&self) -> &str;

    /// Its address on the Ethernet; none for a device whose frames are bare IP packets.
    fn hardware_address(&self) -> Option<[u8; 6]>;

    /// Most bytes of a packet, without the Ethernet header.
    fn mtu(&self) -> usize;

    /// Whether there is a network at the other end.
    fn is_connected(&self) -> bool;

    /// Takes the next frame that has come, which replaces what is in `frame`; false if there is none.
    fn receive(&self, frame: &mut Vec<u8>) -> bool;

    /// Takes a frame that is to be sent; it has been copied when this returns. It may wait for [`flush`](Self::flush), so that many frames are
    /// one notification for the device.
    ///
    /// # Errors
    /// The frame is lost.
    fn transmit(&self, frame: &[u8]) -> Result<(), NetworkError>;

    /// What was to be sent goes out.
    fn flush(&self) {}

    /// Whether it would take another frame now. Who listens is told when there is room again, or looks again soon.
    fn has_room(&self) -> bool {
        true
    }

    /// What went through it.
    fn counters(&self) -> &Counters;

    /// Who is told of what happens. One; the last counts.
    fn listen(&self, listener: Arc<dyn FrameListener>);
}
