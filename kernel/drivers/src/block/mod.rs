// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block devices.
//!
//! The core is [`Requests`]: owned requests go in, completions come out, with a queue for each CPU. Drivers implement it.
//! [`BlockDevice`] is the front that the rest of the kernel may use instead: plain calls that read and write sectors.

mod controller;
mod device;
#[cfg(test)]
pub(crate) mod fake_disk;
mod generic;
pub mod partitions;
pub mod registry;
mod request;
pub mod slots;
#[cfg(test)]
pub(crate) mod suite;

use exo_platform::Buffer;

pub use controller::{Controller, ControllerDriver};
pub use device::{BlockDevice, BlockDeviceType, Polled};
pub use generic::GenericBlockDevice;
pub use request::{
    BlockError, Cause, Completion, DeviceName, Operation, Refused, Request, Sink, Tag, device_name,
    device_text,
};

/// Bytes of the smallest sector.
pub const MIN_SECTOR: usize = 512;
/// A device that does not answer for so long is taken for stuck, in nanoseconds. Linux waits 30 s (block layer's default).
pub const TIMEOUT_NS: u64 = 30_000_000_000;

/// What a block device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Sectors in all.
    pub sectors: u64,
    /// Bytes of a sector, a power of two from 512 to 4096.
    pub sector_size: u32,
    /// Most bytes of one request, a multiple of the sector size.
    pub max_transfer: usize,
    /// Queues that the hardware has. A CPU uses queue `cpu % queues`.
    pub queues: usize,
    /// Requests that a queue holds.
    pub depth: usize,
    /// Writes are refused.
    pub read_only: bool,
    /// Discards are taken.
    pub discard: bool,
    /// The NUMA node that the device is at, if it is known.
    pub numa: Option<u32>,
}

impl Geometry {
    /// Whether `length` bytes from byte `offset` on are all on the device.
    pub(crate) fn holds(&self, offset: u64, length: usize) -> bool {
        let size = self.sectors.saturating_mul(self.sector_size.into());
        offset.checked_add(length as u64).is_some_and(|end| end <= size)
    }

    /// Checks a request against the device, as every driver does first.
    ///
    /// # Errors
    /// [`Cause::OutOfRange`], [`Cause::ReadOnly`], [`Cause::Unsupported`], [`Cause::Misaligned`].
    pub fn check(&self, request: &Request) -> Result<(), Cause> {
        let in_range =
            request.sector.checked_add(request.sectors.into()).is_some_and(|end| end <= self.sectors);
        match request.operation {
            Operation::Flush => return Ok(()),
            _ if request.sectors == 0 || !in_range => return Err(Cause::OutOfRange),
            Operation::Write | Operation::Discard if self.read_only => return Err(Cause::ReadOnly),
            Operation::Discard if self.discard => return Ok(()),
            Operation::Discard => return Err(Cause::Unsupported),
            Operation::Read | Operation::Write => {}
        }
        let bytes = u64::from(request.sectors) * u64::from(self.sector_size);
        match request.buffer.as_ref().map(Buffer::len) {
            Some(length) if length as u64 == bytes && length <= self.max_transfer => Ok(()),
            _ => Err(Cause::Misaligned),
        }
    }
}

/// The queue of CPU `cpu` among a device's `queues`; a number beyond them is folded. None if there are no queues.
#[inline]
pub(crate) fn queue_of<T>(queues: &[T], cpu: usize) -> Option<&T> {
    // A division would cost more than all the rest of a submission.
    match queues.get(cpu) {
        Some(queue) => Some(queue),
        None => queues.get(cpu.checked_rem(queues.len())?),
    }
}

/// The core of a block device, which drivers implement. `cpu` is the calling CPU's number everywhere; a number beyond the
/// queues is folded.
pub trait Requests: Send + Sync {
    /// The device's name: the driver's with a number, such as `ahci0p2`.
    fn name(&self) -> DeviceName;

    /// What the device is like. It stays as it is while the device is present.
    fn geometry(&self) -> Geometry;

    /// The model that the device says it is; empty if it says none.
    fn model(&self) -> &str {
        ""
    }

    /// The serial number that the device says it has; empty if it says none.
    fn serial(&self) -> &str {
        ""
    }

    /// Takes a request. The device may not learn of it before [`ring`](Self::ring). Nothing is allocated.
    ///
    /// # Errors
    /// The request comes back if it does not fit the device, no slot is free or the device is gone.
    fn submit(&self, cpu: usize, request: Request) -> Result<Tag, Refused>;

    /// Tells the device of all that was submitted on this CPU since: one doorbell.
    fn ring(&self, cpu: usize);

    /// Whether nothing but [`poll`](Self::poll) ever tells of completions: for a device without interrupts.
    fn is_polled(&self) -> bool {
        false
    }

    /// Takes what the device has completed on this CPU's queue and calls the sinks; how many.
    fn poll(&self, cpu: usize) -> usize;

    /// Tries to take a request back. True: its sink is told [`Cause::Cancelled`] now or soon. False: it has completed, or will as usual.
    fn cancel(&self, cpu: usize, tag: Tag) -> bool;

    /// Called by a timer a few times a second with the time since boot: fails what is overdue with [`Cause::TimedOut`] and recovers the
    /// device. If the device is gone, fails everything with [`Cause::Removed`].
    fn check_timeouts(&self, now_ns: u64);

    /// For a device whose content is memory: calls `each` with the bytes from byte `offset` on, in order and in parts, `length` of
    /// them in all, and how many came before; until it says false. None from all other devices.
    ///
    /// # Errors
    /// [`Cause::OutOfRange`], [`Cause::Removed`].
    fn with_memory(
        &self,
        offset: u64,
        length: usize,
        each: &mut dyn FnMut(usize, &mut [u8]) -> bool,
    ) -> Option<Result<(), BlockError>> {
        let _ = (offset, length, each);
        None
    }

    /// Whether the device is still there. Once false, it stays false.
    fn is_present(&self) -> bool;

    /// The error of this device for `cause`.
    fn error(&self, sector: Option<u64>, cause: Cause) -> BlockError {
        BlockError { device: self.name(), sector, cause }
    }

    /// Gives a request back.
    fn refuse(&self, request: Request, cause: Cause) -> Refused {
        let sector = (request.operation != Operation::Flush).then_some(request.sector);
        Refused { why: self.error(sector, cause), request }
    }
}
