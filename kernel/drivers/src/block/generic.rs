// SPDX-License-Identifier: MIT OR Apache-2.0
//! A block device in memory: the RAM disk, and the reference that other drivers' behaviour is compared with.
//!
//! It has a queue for each CPU as hardware has, and works on it when it is polled.

use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use exo_platform::{MAX_TRANSFER, NoMemory, PAGE_SIZE, SpinLock, lock_held_over_faults};
use exo_queue::{Consumer, Producer};

use super::{
    BlockDevice, BlockDeviceType, BlockError, Cause, DeviceName, Geometry, Operation, Refused, Request,
    Requests, Tag, device_name, queue_of,
};

/// Requests that a queue holds.
const DEPTH: usize = 256;
/// Requests that one poll works on at most, so that whoever polls gets on with its own work.
const BATCH: usize = 64;

/// One CPU's queue.
struct CpuQueue {
    submissions: SpinLock<Producer<Request>>,
    work: SpinLock<Consumer<Request>>,
    /// Positions of cancelled requests, each in the place of its position and with bit 32 set; 0 where there is none.
    cancelled: Box<[AtomicU64]>,
    /// Whether anything in `cancelled` is to be looked at.
    has_cancelled: AtomicBool,
}

/// Content of a page of the device.
type Page = SpinLock<Box<[u8]>>;

/// A block device in memory.
pub struct GenericBlockDevice {
    name: DeviceName,
    geometry: Geometry,
    pages: Vec<Page>,
    queues: Vec<CpuQueue>,
    is_removed: AtomicBool,
}

impl GenericBlockDevice {
    /// `sectors` sectors of zeros of `sector_size` bytes, with a queue for each of `cpus` CPUs.
    ///
    /// # Errors
    /// [`NoMemory`], also for a sector size that is no power of two from 512 to 4096.
    pub fn new(name: &str, sectors: u64, sector_size: u32, cpus: usize) -> Result<Self, NoMemory> {
        if !sector_size.is_power_of_two() || !(512..=PAGE_SIZE as u32).contains(&sector_size) {
            return Err(NoMemory);
        }
        let bytes = sectors.checked_mul(sector_size.into()).ok_or(NoMemory)?;
        let count = usize::try_from(bytes.div_ceil(PAGE_SIZE as u64)).map_err(|_| NoMemory)?;
        let mut pages = Vec::new();
        pages.try_reserve_exact(count).map_err(|_| NoMemory)?;
        for _ in 0..count {
            let mut page = Vec::new();
            page.try_reserve_exact(PAGE_SIZE).map_err(|_| NoMemory)?;
            page.resize(PAGE_SIZE, 0);
            pages.push(lock_held_over_faults(page.into_boxed_slice()));
        }
        let queue = |_| {
            let (submissions, work) = exo_queue::queue(DEPTH);
            CpuQueue {
                submissions: SpinLock::new(submissions),
                work: SpinLock::new(work),
                cancelled: (0..DEPTH).map(|_| AtomicU64::new(0)).collect(),
                has_cancelled: AtomicBool::new(false),
            }
        };
        let geometry = Geometry {
            sectors,
            sector_size,
            max_transfer: MAX_TRANSFER,
            queues: cpus.max(1),
            depth: DEPTH,
            read_only: false,
            discard: true,
            numa: None,
        };
        Ok(Self {
            name: device_name(format_args!("{name}")),
            geometry,
            pages,
            queues: (0..cpus.max(1)).map(queue).collect(),
            is_removed: AtomicBool::new(false),
        })
    }

    /// Takes the device away: every request, waiting or new, fails with [`Cause::Removed`].
    pub fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
        for cpu in 0..self.queues.len() {
            self.ring(cpu);
            while self.poll(cpu) > 0 {}
        }
    }

    fn queue(&self, cpu: usize) -> Option<&CpuQueue> {
        queue_of(&self.queues, cpu)
    }

    /// Calls `each` with every page of `start..start + length` (in bytes), the offset in it, how many bytes were before it and how
    /// many are there.
    #[inline]
    fn each_page(&self, start: u64, length: usize, mut each: impl FnMut(&Page, usize, usize, usize)) {
        let (mut at, mut done) = (start, 0);
        while done < length {
            let Some(page) = self.pages.get((at / PAGE_SIZE as u64) as usize) else { return };
            let inside = (at % PAGE_SIZE as u64) as usize;
            let count = (PAGE_SIZE - inside).min(length - done);
            each(page, inside, done, count);
            done += count;
            at += count as u64;
        }
    }

    #[inline]
    fn offset(&self, sector: u64) -> u64 {
        sector * u64::from(self.geometry.sector_size)
    }

    fn carry_out(&self, request: &mut Request) -> Result<(), Cause> {
        if self.is_removed.load(Ordering::Acquire) {
            return Err(Cause::Removed);
        }
        let start = self.offset(request.sector);
        match (request.operation, &mut request.buffer) {
            (Operation::Read, Some(buffer)) => {
                self.each_page(start, buffer.len(), |page, inside, done, count| {
                    if let Some(bytes) = page.lock().get(inside..inside + count) {
                        buffer.copy_from(done, bytes);
                    }
                });
            }
            (Operation::Write, Some(buffer)) => {
                self.each_page(start, buffer.len(), |page, inside, done, count| {
                    if let Some(bytes) = page.lock().get_mut(inside..inside + count) {
                        buffer.copy_to(done, bytes);
                    }
                });
            }
            (Operation::Discard, _) => {
                let length = request.sectors as usize * self.geometry.sector_size as usize;
                self.each_page(start, length, |page, inside, _, count| {
                    if let Some(bytes) = page.lock().get_mut(inside..inside + count) {
                        bytes.fill(0);
                    }
                });
            }
            (Operation::Flush, _) => {}
            (Operation::Read | Operation::Write, None) => return Err(Cause::Misaligned),
        }
        Ok(())
    }

    fn check(&self, sector: u64, length: usize) -> Result<u64, BlockError> {
        let error = |cause| self.error(Some(sector), cause);
        let size = self.geometry.sector_size as usize;
        if length % size != 0 {
            return Err(error(Cause::Misaligned));
        }
        let end = sector.checked_add((length / size) as u64);
        if end.is_none_or(|end| end > self.geometry.sectors) {
            return Err(error(Cause::OutOfRange));
        }
        if self.is_removed.load(Ordering::Acquire) {
            return Err(error(Cause::Removed));
        }
        Ok(self.offset(sector))
    }
}

impl Requests for GenericBlockDevice {
    fn name(&self) -> DeviceName {
        self.name
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn model(&self) -> &str {
        "RAM disk"
    }

    #[inline]
    fn submit(&self, cpu: usize, request: Request) -> Result<Tag, Refused> {
        if let Err(cause) = self.geometry.check(&request) {
            return Err(self.refuse(request, cause));
        }
        if self.is_removed.load(Ordering::Acquire) {
            return Err(self.refuse(request, Cause::Removed));
        }
        let Some(queue) = self.queue(cpu) else { return Err(self.refuse(request, Cause::NotReady)) };
        let pushed = queue.submissions.lock().push(request);
        pushed.map(Tag).map_err(|request| self.refuse(request, Cause::QueueFull))
    }

    #[inline]
    fn is_polled(&self) -> bool {
        true
    }

    fn ring(&self, cpu: usize) {
        if let Some(queue) = self.queue(cpu) {
            queue.submissions.lock().publish();
        }
    }

    fn poll(&self, cpu: usize) -> usize {
        let Some(queue) = self.queue(cpu) else { return 0 };
        for count in 0..BATCH {
            let next = queue.work.lock().pop();
            let Some((position, mut request)) = next else { return count };
            let result = if queue.has_cancelled.load(Ordering::Acquire) && queue.is_cancelled(position) {
                Err(Cause::Cancelled)
            } else {
                self.carry_out(&mut request)
            };
            request.end(|| self.name, result);
        }
        BATCH
    }

    fn cancel(&self, cpu: usize, tag: Tag) -> bool {
        let Some(queue) = self.queue(cpu) else { return false };
        // With both locks, nobody takes the request out meanwhile.
        let mut submissions = queue.submissions.lock();
        let work = queue.work.lock();
        let waits = submissions.is_waiting(tag.0);
        if waits {
            if let Some(place) = queue.cancelled.get(tag.0 as usize % DEPTH) {
                place.store(mark(tag.0), Ordering::Release);
            }
            queue.has_cancelled.store(true, Ordering::Release);
            // Its sink is to be told soon, rung or not.
            submissions.publish();
        }
        drop((submissions, work));
        if waits {
            self.poll(cpu);
        }
        waits
    }

    fn check_timeouts(&self, _now_ns: u64) {
        // Memory answers when it is polled; what was rung and then forgotten is done now.
        for cpu in 0..self.queues.len() {
            self.poll(cpu);
        }
    }

    fn with_memory(
        &self,
        offset: u64,
        length: usize,
        each: &mut dyn FnMut(usize, &mut [u8]) -> bool,
    ) -> Option<Result<(), BlockError>> {
        let sector = offset / u64::from(self.geometry.sector_size);
        if !self.geometry.holds(offset, length) {
            return Some(Err(self.error(Some(sector), Cause::OutOfRange)));
        }
        if self.is_removed.load(Ordering::Acquire) {
            return Some(Err(self.error(Some(sector), Cause::Removed)));
        }
        let mut goes_on = true;
        self.each_page(offset, length, |page, inside, done, count| {
            if let Some(bytes) = page.lock().get_mut(inside..inside + count).filter(|_| goes_on) {
                goes_on = each(done, bytes);
            }
        });
        Some(Ok(()))
    }

    fn is_present(&self) -> bool {
        !self.is_removed.load(Ordering::Acquire)
    }
}

/// How a cancelled position is noted.
fn mark(position: u32) -> u64 {
    (1 << 32) | u64::from(position)
}

impl CpuQueue {
    fn is_cancelled(&self, position: u32) -> bool {
        let wanted = mark(position);
        let place = self.cancelled.get(position as usize % DEPTH);
        place.is_some_and(|p| p.compare_exchange(wanted, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }
}

impl BlockDevice for GenericBlockDevice {
    fn device_type(&self) -> BlockDeviceType {
        BlockDeviceType::RamDisk
    }

    fn size_in_sectors(&self) -> u64 {
        self.geometry.sectors
    }

    fn sector_size(&self) -> usize {
        self.geometry.sector_size as usize
    }

    fn supports_async(&self) -> bool {
        true
    }

    #[inline]
    fn read_sectors(&self, sector: u64, out: &mut [u8]) -> Result<(), BlockError> {
        let start = self.check(sector, out.len())?;
        self.each_page(start, out.len(), |page, inside, done, count| {
            if let (Some(to), Some(from)) =
                (out.get_mut(done..done + count), page.lock().get(inside..inside + count))
            {
                to.copy_from_slice(from);
            }
        });
        Ok(())
    }

    #[inline]
    fn write_sectors(&self, sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
        let start = self.check(sector, bytes.len())?;
        self.each_page(start, bytes.len(), |page, inside, done, count| {
            if let (Some(from), Some(to)) =
                (bytes.get(done..done + count), page.lock().get_mut(inside..inside + count))
            {
                to.copy_from_slice(from);
            }
        });
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.check(0, 0).map(|_| ())
    }

    fn submit_async_request(&self, request: Request) -> Result<Tag, Refused> {
        let cpu = exo_platform::cpu_index();
        let tag = self.submit(cpu, request)?;
        self.ring(cpu);
        Ok(tag)
    }

    fn process_async_requests(&self) -> usize {
        self.poll(exo_platform::cpu_index())
    }
}

#[cfg(test)]
#[path = "generic_tests.rs"]
mod tests;
