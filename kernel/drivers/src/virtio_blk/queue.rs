// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests in one virtqueue. A request's slot is also its slot in the queue.
//!
//! Virtio has no numbers that tell two uses of a slot apart. So a status that no device writes is put in the place of the status before the
//! device learns of a request: a completion that finds it there was never asked for.

use exo_platform::{Buffer, Dma, NoMemory, SpinLock};

use super::format::{self, HEADER_BYTES, NO_STATUS, RANGE_BYTES, SERIAL_BYTES, Type};
use crate::{
    block::{Cause, DeviceName, Operation, Request, Tag, slots::Slots},
    virtio::{Doorbell, Layout, Part, Queue, Used},
};

/// Bytes of a slot's own memory, where the device reads the header and the range and writes the status and the serial number.
const STRIDE: usize = 64;
const RANGE: usize = HEADER_BYTES as usize;
const STATUS: usize = RANGE + RANGE_BYTES as usize;
const SERIAL: usize = STATUS + 1;
const _: () = assert!(SERIAL + SERIAL_BYTES <= STRIDE);
/// Completions that one poll takes at most, so that whoever polls gets on with its own work.
const MAX_REAPED: usize = 256;
/// Completions that nobody asked for after which the device is reset.
const MAX_STRAYS: u32 = 64;

struct Inner {
    ring: Queue,
    slots: Slots<()>,
    own: Dma,
    doorbell: Option<Doorbell>,
    /// The device is not told of requests, because it is being reset.
    is_held: bool,
    /// New requests are refused, for this reason.
    refusal: Option<Cause>,
    strays: u32,
    /// Flushes of a device that keeps nothing back: done when they come.
    instant: usize,
}

/// What requests must know of the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Sectors of 512 bytes in one of the disk's.
    pub(super) scale: u32,
    /// Most bytes of one part of a request.
    pub(super) size_max: u32,
    /// Whether flushes are passed on.
    pub(super) can_flush: bool,
}

/// One queue.
pub(super) struct RequestQueue {
    name: DeviceName,
    rules: Rules,
    inner: SpinLock<Inner>,
}

impl RequestQueue {
    pub(super) fn new(name: DeviceName, rules: Rules, layout: Layout, node: u32) -> Result<Self, NoMemory> {
        let slots = layout.slots();
        let inner = Inner {
            ring: Queue::new(layout, Some(node))?,
            slots: Slots::new(slots),
            own: Dma::new(usize::from(slots) * STRIDE, STRIDE, Some(node))?,
            doorbell: None,
            is_held: true,
            refusal: None,
            strays: 0,
            instant: 0,
        };
        Ok(Self { name, rules, inner: SpinLock::new(inner) })
    }

    /// Gives the device's side something to do with the queue's memory.
    pub(super) fn with_ring<T>(&self, with: impl FnOnce(&Queue) -> T) -> T {
        with(&self.inner.lock().ring)
    }

    pub(super) fn set_doorbell(&self, doorbell: Doorbell) {
        self.inner.lock().doorbell = Some(doorbell);
    }

    #[inline]
    pub(super) fn submit(&self, request: Request) -> Result<Tag, (Request, Cause)> {
        let mut inner = self.inner.lock();
        if let Some(cause) = inner.refusal {
            return Err((request, cause));
        }
        let is_instant = request.operation == Operation::Flush && !self.rules.can_flush;
        let (slot, tag) = inner.slots.insert(request, ()).map_err(|request| (request, Cause::QueueFull))?;
        if is_instant {
            inner.instant += 1;
            return Ok(tag);
        }
        let fits =
            if inner.is_held { inner.fits(slot, self.rules) } else { inner.describe(slot, self.rules) };
        if !fits {
            if let Some(content) = inner.slots.take(slot) {
                return Err((content.request, Cause::Misaligned));
            }
        }
        Ok(tag)
    }

    #[inline]
    pub(super) fn ring(&self) {
        let mut inner = self.inner.lock();
        if !inner.is_held {
            inner.notify();
        }
    }

    #[inline]
    pub(super) fn poll(&self) -> usize {
        for count in 0..MAX_REAPED {
            let ended = {
                let mut inner = self.inner.lock();
                match inner.take_instant() {
                    None => inner.reap(),
                    ended => ended,
                }
            };
            let Some((request, result)) = ended else { return count };
            request.end(|| self.name, result);
        }
        MAX_REAPED
    }

    /// Takes a request back if the device was not told of it.
    pub(super) fn cancel(&self, tag: Tag) -> bool {
        let request = {
            let mut inner = self.inner.lock();
            let Some(slot) = inner.slots.slot_of(tag) else { return false };
            // While the device is being reset nobody knows what it still does.
            if inner.is_held || !inner.ring.withdraw(slot) {
                return false;
            }
            inner.slots.take(slot).map(|content| content.request)
        };
        if let Some(request) = request {
            request.end(|| self.name, Err(Cause::Cancelled));
        }
        true
    }

    /// Notes the time; whether the device has to be reset.
    pub(super) fn is_stuck(&self, now_ns: u64) -> bool {
        let mut inner = self.inner.lock();
        inner.slots.set_time(now_ns);
        inner.strays > MAX_STRAYS || inner.slots.overdue(0).next().is_some()
    }

    /// From now on the device is told of nothing.
    pub(super) fn hold(&self) {
        self.inner.lock().is_held = true;
    }

    /// The device was reset and has forgotten everything: what was overdue or has been tried too often ends.
    pub(super) fn forget(&self, now_ns: u64) {
        {
            let mut inner = self.inner.lock();
            inner.ring.reset();
            inner.strays = 0;
        }
        let limit = crate::block::TIMEOUT_NS;
        self.end_all(Cause::TimedOut, |content| content.waited_ns(now_ns) > limit || !content.may_repeat());
        self.inner.lock().slots.repeat_all();
    }

    /// The device works again: tells it of all that waits.
    pub(super) fn release(&self) {
        let mut inner = self.inner.lock();
        inner.is_held = false;
        for slot in 0..inner.ring.layout().slots() {
            let waits = inner
                .slots
                .get(slot)
                .is_some_and(|content| content.request.operation != Operation::Flush || self.rules.can_flush);
            if waits {
                // It fitted when it came.
                inner.describe(slot, self.rules);
            }
        }
        inner.notify();
    }

    /// Refuses requests from now on, and ends those that are under way with `cause`. The device touches no memory any more.
    pub(super) fn close(&self, cause: Cause) {
        {
            let mut inner = self.inner.lock();
            inner.is_held = true;
            inner.refusal = Some(cause.for_later());
        }
        self.end_all(cause, |_| true);
    }

    /// Refuses requests from now on; those under way go on.
    pub(super) fn refuse(&self, cause: Cause) {
        self.inner.lock().refusal = Some(cause);
    }

    /// Takes completions; how many requests are still under way.
    pub(super) fn drain(&self) -> usize {
        self.poll();
        self.inner.lock().slots.in_flight()
    }

    fn end_all(&self, cause: Cause, mut wanted: impl FnMut(&crate::block::slots::InFlight<()>) -> bool) {
        loop {
            let taken = self.inner.lock().slots.take_if(&mut wanted);
            let Some(content) = taken else { return };
            content.request.end(|| self.name, Err(cause));
        }
    }

    /// Asks the device for its serial number, with nothing else under way; `is_over` ends the wait. The device may still write it
    /// later then, where it does no harm.
    pub(super) fn read_serial(&self, is_over: impl Fn() -> bool) -> Option<[u8; SERIAL_BYTES]> {
        let mut inner = self.inner.lock();
        inner.prepare(0, Type::Serial, 0);
        let [header, _, status] = inner.own_parts(0);
        let address = inner.own.address() + SERIAL as u64;
        let answer = Part { address, length: SERIAL_BYTES as u32, is_written: true };
        inner.ring.push(0, [header, answer, status].into_iter());
        inner.notify();
        loop {
            if inner.ring.pop().is_some() {
                let is_good = inner.own.read8(STATUS) == 0;
                let mut bytes = [0; SERIAL_BYTES];
                inner.own.read_bytes(SERIAL, &mut bytes);
                return is_good.then_some(bytes);
            }
            if is_over() {
                return None;
            }
            exo_platform::spin_for_ns(1000);
        }
    }
}

/// A request's data, in parts that the device takes.
#[inline]
fn data_parts(buffer: &Buffer, is_written: bool, size_max: u32) -> impl Iterator<Item = Part> + '_ {
    buffer.segments().flat_map(move |segment| {
        (0..segment.length).step_by(size_max as usize).map(move |done| Part {
            address: segment.address + u64::from(done),
            length: (segment.length - done).min(size_max),
            is_written,
        })
    })
}

impl Inner {
    /// Header, range and status of a slot.
    fn own_parts(&self, slot: u16) -> [Part; 3] {
        let start = self.own.address() + (usize::from(slot) * STRIDE) as u64;
        [
            Part { address: start, length: HEADER_BYTES, is_written: false },
            Part { address: start + RANGE as u64, length: RANGE_BYTES, is_written: false },
            Part { address: start + STATUS as u64, length: 1, is_written: true },
        ]
    }

    fn prepare(&self, slot: u16, kind: Type, sector: u64) {
        let start = usize::from(slot) * STRIDE;
        self.own.write_bytes(start, &format::header(kind, sector));
        self.own.write8(start + STATUS, NO_STATUS);
    }

    /// Whether the data of the request in `slot` are not in too many parts.
    fn fits(&self, slot: u16, rules: Rules) -> bool {
        let buffer = self.slots.get(slot).and_then(|content| content.request.buffer.as_ref());
        let parts = buffer.map_or(0, |buffer| data_parts(buffer, false, rules.size_max).count());
        // Header and status come with the data.
        parts + 2 <= usize::from(self.ring.layout().chain)
    }

    /// Fills the ring's slot for the request in `slot`; false if its data is in too many parts.
    #[inline]
    fn describe(&mut self, slot: u16, rules: Rules) -> bool {
        let Some(content) = self.slots.get(slot) else { return false };
        let request = &content.request;
        let scale = u64::from(rules.scale);
        self.prepare(slot, request.operation.into(), request.sector.saturating_mul(scale));
        let [header, range, status] = self.own_parts(slot);
        match (request.operation, &request.buffer) {
            (Operation::Read | Operation::Write, Some(buffer)) => {
                let is_written = request.operation == Operation::Read;
                let data = data_parts(buffer, is_written, rules.size_max);
                self.ring.push(slot, core::iter::once(header).chain(data).chain([status]))
            }
            (Operation::Discard, _) => {
                let sectors = request.sectors.saturating_mul(rules.scale);
                let bytes = format::range(request.sector.saturating_mul(scale), sectors);
                self.own.write_bytes(usize::from(slot) * STRIDE + RANGE, &bytes);
                self.ring.push(slot, [header, range, status].into_iter())
            }
            _ => self.ring.push(slot, [header, status].into_iter()),
        }
    }

    fn notify(&mut self) {
        if self.ring.publish() {
            if let Some(doorbell) = &self.doorbell {
                doorbell.ring();
            }
        }
    }

    #[inline]
    fn take_instant(&mut self) -> Option<(Request, Result<(), Cause>)> {
        if self.instant == 0 {
            return None;
        }
        let found = self.slots.take_if(|content| content.request.operation == Operation::Flush);
        match &found {
            Some(_) => self.instant -= 1,
            None => self.instant = 0,
        }
        found.map(|content| (content.request, Ok(())))
    }

    /// Takes the next completion that belongs to a request. What belongs to none is counted and dropped.
    #[inline]
    fn reap(&mut self) -> Option<(Request, Result<(), Cause>)> {
        if self.is_held {
            return None;
        }
        loop {
            let used = self.ring.pop()?;
            let ended = match used {
                Used::Slot { slot, .. } => {
                    let status = self.own.read8(usize::from(slot) * STRIDE + STATUS);
                    format::result(status).and_then(|r| Some((self.slots.take(slot)?, r)))
                }
                Used::Nonsense => None,
            };
            if let Some((content, result)) = ended {
                return Some((content.request, result));
            }
            self.strays = self.strays.saturating_add(1);
            // Whoever writes nonsense into all entries gets no further than this before the next look at the clock.
            if self.strays > MAX_STRAYS {
                return None;
            }
        }
    }
}
