// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to disks: straight into the device's queue, to and from the program's own pages. No thread waits for them; the
//! device's completion writes the ring's.

use alloc::{sync::Arc, vec::Vec};

use exo_drivers::block::{Cause, Completion, Geometry, Operation as BlockOperation, Request, Requests, Sink};
use exo_hal::{cpu::percpu::cpu_index, time, tlb};
use exo_logic::uring::{
    Operation,
    entry::{Memory, Transfer},
};
use exo_platform::Buffer;

use super::{
    flights::{Flight, Used},
    job::{Job, Step},
    ring::Ring,
};
use crate::{
    disk::Disk,
    errno::{Errno, Result},
    fallible,
    mm::pin,
    sched,
    task::{current, kernel_thread},
    user::IoVec,
};

/// Devices in use by a ring at once that it polls itself; others complete by interrupt all the same.
const MOST_POLLED: usize = 8;
/// How long who waits for completions polls the devices before it sleeps, in nanoseconds. Sleeping and being woken by an
/// interrupt costs about as much.
const POLL_NS: u64 = 50_000;

/// Whole sectors at places that controllers can reach; what is not takes the way of a system call.
fn is_direct(geometry: &Geometry, offset: u64, parts: &[IoVec]) -> bool {
    let size = u64::from(geometry.sector_size);
    offset % size == 0 && parts.iter().all(|part| part.length as u64 % size == 0 && part.base % 4 == 0)
}

impl Ring {
    /// Gives a transfer or flush to the disk behind the request's file. What is no whole sector, reaches beyond the disk's end or uses the
    /// file's own offset is not for its queue.
    pub(super) fn start_on_disk(self: &Arc<Self>, job: Job, disk: &Arc<Disk>) -> Step {
        let geometry = disk.requests().geometry();
        let Operation::Transfer(transfer) = job.operation else { return self.flush_disk(job, disk) };
        let result = match job.file.as_ref() {
            None => Err(Errno::EBADF),
            Some(file) if !(if transfer.write { file.can_write() } else { file.can_read() }) => {
                Err(Errno::EBADF)
            }
            Some(_) if transfer.flags != 0 => Err(Errno::EOPNOTSUPP),
            Some(_) if transfer.write && geometry.read_only => Err(Errno::EROFS),
            Some(_) => Ok(()),
        };
        if let Err(error) = result {
            return Step::Done(job, -error.0);
        }
        let single;
        let parts = match transfer.memory {
            Memory::Vector { .. } => &*job.parts,
            Memory::Plain { address, length } | Memory::Registered { address, length, .. } => {
                single = [IoVec { base: address as usize, length: length as usize }];
                &single
            }
        };
        let size = geometry.sectors.saturating_mul(geometry.sector_size.into());
        let bytes: usize = parts.iter().map(|part| part.length).sum();
        let end = transfer.offset.and_then(|start| start.checked_add(bytes as u64));
        let (Some(start), Some(_)) = (transfer.offset, end.filter(|end| *end <= size)) else {
            return Step::Blocking(job);
        };
        if bytes == 0 || !is_direct(&geometry, start, parts) {
            return Step::Blocking(job);
        }
        let requests = Outline::new(&geometry, start, parts);
        // The parts are looked at again once the job is put away, which keeps them.
        let all;
        let plan = match requests.only() {
            Some(only) => &[only][..],
            None => match requests.all() {
                Ok(found) => {
                    all = found;
                    &all
                }
                Err(error) => return Step::Done(job, -error.0),
            },
        };
        self.send(job, disk, &geometry, &transfer, (start, bytes), plan)
    }

    fn flush_disk(self: &Arc<Self>, job: Job, disk: &Arc<Disk>) -> Step {
        let device = disk.requests();
        let (cpu, sink) = (cpu_index(), self.clone());
        let place = match self.fly(job, 1, (0, 0), device.geometry().sector_size) {
            Ok(place) => place,
            Err((job, error)) => return Step::Done(job, -error.0),
        };
        let token = place as u64;
        let request =
            Request { operation: BlockOperation::Flush, sector: 0, buffer: None, sectors: 0, sink, token };
        self.note_use(disk, cpu);
        if let Err(error) = self.insist(device, cpu, request) {
            self.landed(place, Some((0, error)));
        }
        Step::Started
    }

    /// Puts a job away until its parts have ended.
    fn fly(
        self: &Arc<Self>,
        mut job: Job,
        left: usize,
        (start, bytes): (u64, usize),
        sector_size: u32,
    ) -> core::result::Result<usize, (Job, Errno)> {
        if !job.rest.is_empty() {
            // Those behind it are begun where there may be no program's memory: by the worker.
            if let Err(error) = self.start_worker() {
                return Err((job, error));
            }
            let memory = current().memory();
            for next in &mut job.rest {
                next.memory = Some(memory.clone());
            }
        }
        let flight = Flight { job, left, error: None, start, sector_size, bytes };
        Ok(self.flights.lock().add(flight))
    }

    fn send(
        self: &Arc<Self>,
        job: Job,
        disk: &Arc<Disk>,
        geometry: &Geometry,
        transfer: &Transfer,
        (start, bytes): (u64, usize),
        plan: &[Piece],
    ) -> Step {
        let index = match transfer.memory {
            Memory::Registered { index, .. } => Some(index),
            _ => None,
        };
        let sector_size = geometry.sector_size;
        let place = match self.fly(job, plan.len(), (start, bytes), sector_size) {
            Ok(place) => place,
            Err((job, error)) => return Step::Done(job, -error.0),
        };
        let cpu = cpu_index();
        self.note_use(disk, cpu);
        let mut failed = None;
        for piece in plan {
            let offset = piece.sector * u64::from(sector_size) - start;
            let result = match failed {
                Some(error) => Err(error),
                None => self.pin(index, piece, !transfer.write).and_then(|buffer| {
                    let operation = if transfer.write { BlockOperation::Write } else { BlockOperation::Read };
                    let request = Request {
                        operation,
                        sector: piece.sector,
                        sectors: (piece.length / sector_size as usize) as u32,
                        buffer: Some(buffer),
                        sink: self.clone(),
                        token: place as u64,
                    };
                    self.insist(disk.requests(), cpu, request)
                }),
            };
            if let Err(error) = result {
                failed = Some(error);
                self.landed(place, Some((offset, error)));
            }
        }
        Step::Started
    }

    /// The memory of a piece as a buffer.
    fn pin(&self, index: Option<u16>, piece: &Piece, write: bool) -> Result<Buffer> {
        let Some(index) = index else {
            return current().memory().pin(piece.address, piece.length, write);
        };
        let buffer = self.resources.lock().buffer(index).ok_or(Errno::EFAULT)?;
        let (frames, offset) = buffer.part(piece.address, piece.length).ok_or(Errno::EFAULT)?;
        pin::pin_frames(frames, offset, piece.length)
    }

    /// Submits a request; while the queue is full, has the device work on what it has.
    fn insist(&self, device: &Arc<dyn Requests>, cpu: usize, mut request: Request) -> Result<()> {
        loop {
            match device.submit(cpu, request) {
                Ok(_) => return Ok(()),
                Err(refused) if refused.why.cause == Cause::QueueFull => request = refused.request,
                Err(refused) => return Err(refused.why.into()),
            }
            if current().is_killed() {
                return Err(Errno::ECANCELED);
            }
            device.ring(cpu);
            if device.poll(cpu) == 0 {
                kernel_thread::pause();
            }
        }
    }

    fn note_use(&self, disk: &Arc<Disk>, cpu: usize) {
        let mut used = self.used.lock();
        if let Some(known) = used.iter_mut().find(|known| Arc::ptr_eq(&known.disk, disk) && known.cpu == cpu)
        {
            known.has_news = true;
            return;
        }
        if used.len() >= MOST_POLLED {
            let ready = used.iter().position(|known| !known.has_news).unwrap_or(0);
            let old = used.swap_remove(ready);
            old.disk.requests().ring(old.cpu);
        }
        used.push(Used { disk: disk.clone(), cpu, has_news: true });
    }

    /// Tells the devices of all that was submitted: one doorbell each.
    pub(super) fn ring_doorbells(&self) {
        let mut polled = false;
        for used in self.used.lock().iter_mut() {
            if !core::mem::take(&mut used.has_news) {
                continue;
            }
            let device = used.disk.requests();
            device.ring(used.cpu);
            polled |= device.is_polled();
        }
        // No interrupt tells of these.
        while polled && self.poll_disks() > 0 {}
    }

    /// Has the devices tell of what has ended; how much that was.
    pub(super) fn poll_disks(&self) -> usize {
        if self.flights.lock().is_empty() {
            return 0;
        }
        // With the list locked, as what ends is told to flights and completions only.
        self.used.lock().iter().map(|used| used.disk.requests().poll(used.cpu)).sum()
    }

    /// Polls the devices for a while, until `enough`.
    pub(super) fn poll_until(&self, enough: impl Fn() -> bool) {
        let end = time::now_ns() + POLL_NS;
        while !enough() && !self.flights.lock().is_empty() {
            if self.poll_disks() == 0 {
                if sched::has_waiting() || time::now_ns() > end {
                    return;
                }
                tlb::answer();
                core::hint::spin_loop();
            }
        }
    }

    /// A part has ended.
    fn landed(&self, place: usize, error: Option<(u64, Errno)>) {
        let flight = {
            let mut flights = self.flights.lock();
            let Some(Some(flight)) = flights.places.get_mut(place) else { return };
            flight.left -= 1;
            if let Some(new) = error {
                flight.error = Some(flight.error.map_or(new, |old| if old.0 <= new.0 { old } else { new }));
            }
            if flight.left > 0 {
                return;
            }
            flights.remove(place)
        };
        let Some(flight) = flight else { return };
        let result = match flight.error {
            None => i32::try_from(flight.bytes).unwrap_or(i32::MAX),
            Some((0, error)) => -error.0,
            // What came before the first error was moved.
            Some((good, _)) => i32::try_from(good).unwrap_or(i32::MAX),
        };
        if let Some(next) = self.finish(flight.job, result) {
            self.leave_to_worker(next);
        }
    }
}

impl Sink for Ring {
    fn complete(&self, completion: Completion) {
        let place = completion.token as usize;
        let error = completion.result.err().map(|error| {
            let flights = self.flights.lock();
            let offset = match flights.places.get(place) {
                Some(Some(flight)) => {
                    let at = error.sector.unwrap_or(0).saturating_mul(flight.sector_size.into());
                    at.saturating_sub(flight.start)
                }
                _ => 0,
            };
            (offset, error.into())
        });
        // The pages are let go before the program hears of it.
        drop(completion.buffer);
        self.landed(place, error);
    }
}

/// What one request to the device moves.
#[derive(Clone, Copy, Debug)]
struct Piece {
    sector: u64,
    address: usize,
    length: usize,
}

/// The requests to the device that a transfer needs, in order.
struct Outline<'a> {
    parts: core::slice::Iter<'a, IoVec>,
    rest: IoVec,
    sector: u64,
    sector_size: usize,
    most: usize,
}

impl<'a> Outline<'a> {
    fn new(geometry: &Geometry, start: u64, parts: &'a [IoVec]) -> Self {
        let sector_size = geometry.sector_size as usize;
        let most = geometry.max_transfer.min(exo_platform::MAX_TRANSFER);
        Self {
            parts: parts.iter(),
            rest: IoVec::default(),
            sector: start / sector_size as u64,
            sector_size,
            most: most - most % sector_size,
        }
    }

    /// The piece, if there is only one.
    fn only(&self) -> Option<Piece> {
        match self.parts.as_slice() {
            [part] if part.length <= self.most => {
                Some(Piece { sector: self.sector, address: part.base, length: part.length })
            }
            _ => None,
        }
    }

    /// All pieces.
    fn all(self) -> Result<Vec<Piece>> {
        let count = self.parts.as_slice().iter().map(|part| part.length.div_ceil(self.most)).sum();
        let mut all = fallible::list(count)?;
        all.extend(self);
        Ok(all)
    }
}

impl Iterator for Outline<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        while self.rest.length == 0 {
            self.rest = *self.parts.next()?;
        }
        let length = self.rest.length.min(self.most);
        let piece = Piece { sector: self.sector, address: self.rest.base, length };
        self.sector += (length / self.sector_size) as u64;
        self.rest = IoVec { base: self.rest.base.wrapping_add(length), length: self.rest.length - length };
        Some(piece)
    }
}
