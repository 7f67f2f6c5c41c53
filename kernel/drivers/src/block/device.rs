// SPDX-License-Identifier: MIT OR Apache-2.0
//! The front of a block device: plain calls that read and write sectors and come back when it is done.

use core::fmt;

use alloc::sync::Arc;

use exo_platform::{Buffer, SpinLock};

use super::{BlockError, Cause, Completion, Operation, Refused, Request, Requests, Sink, TIMEOUT_NS, Tag};

/// How long [`Polled`] waits before it looks again: a little first, more and more later.
const MIN_PAUSE_NS: u64 = 200;
const MAX_PAUSE_NS: u64 = 1_000_000;

/// What kind of block device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockDeviceType {
    /// Memory of this machine.
    RamDisk,
    /// A disk behind a controller.
    Disk,
}

impl fmt::Display for BlockDeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RamDisk => "RAM disk",
            Self::Disk => "disk",
        })
    }
}

/// A block device as the rest of the kernel may use it.
pub trait BlockDevice: Send + Sync {
    /// What kind of device it is.
    fn device_type(&self) -> BlockDeviceType;
    /// Sectors in all.
    fn size_in_sectors(&self) -> u64;
    /// Bytes of a sector.
    fn sector_size(&self) -> usize;
    /// Whether requests can be submitted without waiting for them.
    fn supports_async(&self) -> bool;

    /// Reads whole sectors from `sector` on.
    ///
    /// # Errors
    /// What went wrong and where. The content of `out` is undefined then.
    fn read_sectors(&self, sector: u64, out: &mut [u8]) -> Result<(), BlockError>;

    /// Writes whole sectors from `sector` on.
    ///
    /// # Errors
    /// What went wrong and where. Some of the sectors may have been written.
    fn write_sectors(&self, sector: u64, bytes: &[u8]) -> Result<(), BlockError>;

    /// Comes back when everything that was written before is on the medium.
    ///
    /// # Errors
    /// Whether it is there is unknown then.
    fn flush(&self) -> Result<(), BlockError>;

    /// Gives the device a request, whose sink is told of the end.
    ///
    /// # Errors
    /// The request comes back if it cannot be taken.
    fn submit_async_request(&self, request: Request) -> Result<Tag, Refused>;

    /// Takes what has been completed for this CPU, and tells the sinks; how many.
    fn process_async_requests(&self) -> usize;
}

/// The front for a device that has only the core. It waits by polling, with pauses in between: awake where nothing can sleep, asleep if a
/// thread says how.
pub struct Polled {
    device: Arc<dyn Requests>,
    /// Lets about so many nanoseconds pass.
    pause: fn(u64),
}

/// Where the end of one request is found.
#[derive(Default)]
struct Waiter(SpinLock<Option<Completion>>);

impl Sink for Waiter {
    fn complete(&self, completion: Completion) {
        *self.0.lock() = Some(completion);
    }
}

/// Whether a request from `start_ns` on should long have ended, by the driver's own limits.
fn is_too_late(start_ns: u64) -> bool {
    exo_platform::now_ns().saturating_sub(start_ns) > 4 * TIMEOUT_NS
}

impl Polled {
    /// A front for `device` that holds its CPU while it waits.
    pub fn new(device: Arc<dyn Requests>) -> Self {
        Self::with_pause(device, exo_platform::spin_for_ns)
    }

    /// A front for `device` that waits by `pause`, which gets a time in nanoseconds.
    pub fn with_pause(device: Arc<dyn Requests>, pause: fn(u64)) -> Self {
        Self { device, pause }
    }

    /// Submits a request. While others' requests fill the queue, the device works on those.
    fn submit(&self, cpu: usize, mut request: Request) -> Result<(), BlockError> {
        let start = exo_platform::now_ns();
        loop {
            match self.device.submit(cpu, request) {
                Ok(_) => return Ok(()),
                Err(Refused { why, .. }) if why.cause != Cause::QueueFull || is_too_late(start) => {
                    return Err(why);
                }
                Err(refused) => request = refused.request,
            }
            self.device.ring(cpu);
            if self.device.poll(cpu) == 0 {
                (self.pause)(MAX_PAUSE_NS);
            }
        }
    }

    /// Carries one request out.
    fn run(
        &self,
        operation: Operation,
        sector: u64,
        sectors: u32,
        buffer: Option<Buffer>,
    ) -> Result<Option<Buffer>, BlockError> {
        let cpu = exo_platform::cpu_index();
        let waiter = Arc::new(Waiter::default());
        let request = Request { operation, sector, buffer, sectors, sink: waiter.clone(), token: 0 };
        self.submit(cpu, request)?;
        self.device.ring(cpu);
        let start = exo_platform::now_ns();
        let mut checked = start;
        let mut pause_ns = MIN_PAUSE_NS;
        loop {
            self.device.poll(cpu);
            if let Some(Completion { buffer, result, .. }) = waiter.0.lock().take() {
                return result.map(|_| buffer);
            }
            let now = exo_platform::now_ns();
            // The timer that does this otherwise may not run yet.
            if now.saturating_sub(checked) > TIMEOUT_NS / 100 {
                checked = now;
                self.device.check_timeouts(now);
            }
            // The driver has not kept its own limit. The waiter stays behind for whatever comes.
            if is_too_late(start) {
                return Err(self.device.error(Some(sector), Cause::TimedOut));
            }
            (self.pause)(pause_ns);
            pause_ns = (pause_ns + pause_ns / 8).min(MAX_PAUSE_NS);
        }
    }

    /// Calls `part` for each piece of `length` bytes that fits one request: first sector, sectors, offset of the piece and its
    /// length.
    fn each_transfer(
        &self,
        sector: u64,
        length: usize,
        mut part: impl FnMut(u64, u32, usize, usize) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let geometry = self.device.geometry();
        let size = geometry.sector_size as usize;
        if length % size != 0 {
            return Err(self.device.error(Some(sector), Cause::Misaligned));
        }
        let most = geometry.max_transfer / size * size;
        let mut done = 0;
        while done < length {
            let count = (length - done).min(most.max(size));
            let at = sector.checked_add((done / size) as u64);
            let at = at.ok_or_else(|| self.device.error(Some(sector), Cause::OutOfRange))?;
            part(at, (count / size) as u32, done, count)?;
            done += count;
        }
        Ok(())
    }

    fn buffer(&self, sector: u64, bytes: usize) -> Result<Buffer, BlockError> {
        Buffer::kernel(bytes).map_err(|_| self.device.error(Some(sector), Cause::NoMemory))
    }
}

impl BlockDevice for Polled {
    fn device_type(&self) -> BlockDeviceType {
        BlockDeviceType::Disk
    }

    fn size_in_sectors(&self) -> u64 {
        self.device.geometry().sectors
    }

    fn sector_size(&self) -> usize {
        self.device.geometry().sector_size as usize
    }

    fn supports_async(&self) -> bool {
        true
    }

    fn read_sectors(&self, sector: u64, out: &mut [u8]) -> Result<(), BlockError> {
        self.each_transfer(sector, out.len(), |at, sectors, done, count| {
            let buffer = self.buffer(at, count)?;
            let buffer = self.run(Operation::Read, at, sectors, Some(buffer))?;
            if let (Some(buffer), Some(to)) = (buffer, out.get_mut(done..done + count)) {
                buffer.copy_to(0, to);
            }
            Ok(())
        })
    }

    fn write_sectors(&self, sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
        self.each_transfer(sector, bytes.len(), |at, sectors, done, count| {
            let mut buffer = self.buffer(at, count)?;
            buffer.copy_from(0, bytes.get(done..done + count).unwrap_or_default());
            self.run(Operation::Write, at, sectors, Some(buffer)).map(|_| ())
        })
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.run(Operation::Flush, 0, 0, None).map(|_| ())
    }

    fn submit_async_request(&self, request: Request) -> Result<Tag, Refused> {
        let cpu = exo_platform::cpu_index();
        let tag = self.device.submit(cpu, request)?;
        self.device.ring(cpu);
        Ok(tag)
    }

    fn process_async_requests(&self) -> usize {
        self.device.poll(exo_platform::cpu_index())
    }
}
