// SPDX-License-Identifier: MIT OR Apache-2.0
//! An I/O queue pair: one CPU's requests on their way to the device and back.
//!
//! The queue's lock is held while the rings are touched, never while a sink is told. As a queue's interrupt goes to its own
//! CPU and interrupts are off in the kernel, the lock is free in practice; only timers and CPUs beyond the number of queues
//! ever wait for it.

use exo_platform::{Dma, NoMemory, Registers, SpinLock};

use super::{
    command::{self, Command, Completion},
    prp,
    rings::Rings,
    shadow::Shadow,
};
use crate::block::{
    Cause, DeviceName, Operation, Request, Tag,
    slots::{self, Slots},
};

/// How long a command may take to be aborted, after it was overdue, before the controller is reset.
pub(super) const ABORT_GRACE_NS: u64 = 5_000_000_000;
/// Completions for nothing after which the device is taken for mad.
const MAX_STRAYS: u32 = 64;
/// Completions that one poll takes: a device that completes without end must not keep the CPU for ever.
const MAX_REAPED: usize = 1024;
/// Bits of a command identifier that are the slot. The rest tells the slot's uses apart, so that a completion that comes twice
/// does not end a later request.
const SLOT_BITS: u32 = 7;
/// Entries of a submission queue at most.
pub(super) const MAX_ENTRIES: u16 = 1 << SLOT_BITS;

/// The command identifier of a request: its slot, and how often that was used.
#[inline]
fn identifier(tag: Tag) -> u16 {
    ((tag.0 >> 16 << SLOT_BITS) | (tag.0 & 0xffff)) as u16
}

/// What is kept beside a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extra {
    namespace: u32,
    /// An abort was sent.
    is_aborting: bool,
}

struct Inner {
    rings: Rings,
    slots: Slots<Extra>,
    /// A list of pages, or a range to discard, for each slot.
    lists: Dma,
    /// While the controller is being reset, requests only wait in their slots.
    is_held: bool,
    /// Why requests are refused now.
    refusal: Option<Cause>,
    strays: u32,
    completed: u64,
}

/// What a look at the queue's clock found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// All is in time.
    Good,
    /// The command of this identifier is overdue and should be aborted.
    Abort(u16),
    /// Only a reset helps: an abort did not, or the device makes completions up.
    Stuck,
}

/// See the module's description.
pub(super) struct IoQueue {
    /// The queue's number, from 1: 0 is the admin queue.
    pub(super) number: u16,
    controller: DeviceName,
    inner: SpinLock<Inner>,
}

impl IoQueue {
    pub(super) fn new(
        number: u16,
        controller: DeviceName,
        registers: Registers,
        doorbells: (usize, usize),
        entries: (u16, u16),
        node: Option<u32>,
    ) -> Result<Self, NoMemory> {
        // One entry stays empty, or a full queue would look like an empty one.
        let count = entries.0.saturating_sub(1);
        let inner = Inner {
            rings: Rings::new(registers, doorbells, entries, node)?,
            slots: Slots::new(count),
            lists: Dma::new(usize::from(count) * prp::LIST_BYTES, prp::PAGE as usize, node)?,
            is_held: true,
            refusal: None,
            strays: 0,
            completed: 0,
        };
        Ok(Self { number, controller, inner: SpinLock::new(inner) })
    }

    /// Addresses and entries of the submission and the completion queue.
    pub(super) fn memory(&self) -> ((u64, u64), (u16, u16)) {
        let inner = self.inner.lock();
        (inner.rings.addresses(), inner.rings.entries())
    }

    /// Has the doorbells in memory from now on, or no more.
    pub(super) fn set_shadows(&self, shadows: Option<(Shadow, Shadow)>) {
        self.inner.lock().rings.set_shadows(shadows);
    }

    pub(super) fn acknowledge_lazily(&self) {
        self.inner.lock().rings.acknowledge_lazily();
    }

    /// Takes a request for a namespace. It has been checked against the namespace's geometry.
    #[inline]
    pub(super) fn submit(&self, namespace: u32, request: Request) -> Result<Tag, (Request, Cause)> {
        let mut inner = self.inner.lock();
        if let Some(cause) = inner.refusal {
            return Err((request, cause));
        }
        let extra = Extra { namespace, is_aborting: false };
        let (slot, tag) =
            inner.slots.insert(request, extra).map_err(|request| (request, Cause::QueueFull))?;
        match inner.describe(slot) {
            Ok(command) if !inner.is_held => inner.rings.push(command, identifier(tag)),
            Ok(_) => {}
            Err(cause) => {
                if let Some(content) = inner.slots.take(slot) {
                    return Err((content.request, cause));
                }
            }
        }
        Ok(tag)
    }

    #[inline]
    pub(super) fn ring(&self) {
        self.inner.lock().rings.ring();
    }

    /// Takes completions and tells their sinks; how many.
    #[inline]
    pub(super) fn poll(&self) -> usize {
        for count in 0..MAX_REAPED {
            let ended = {
                let mut inner = self.inner.lock();
                let ended = inner.reap(self.number);
                if ended.is_none() {
                    inner.rings.acknowledge();
                }
                ended
            };
            let Some((request, namespace, result)) = ended else { return count };
            request.end(|| slots::numbered(&self.controller, 'n', namespace), result);
        }
        MAX_REAPED
    }

    /// Takes a request back if the device was not told of it.
    pub(super) fn cancel(&self, tag: Tag) -> bool {
        let (request, namespace) = {
            let mut inner = self.inner.lock();
            let Some(slot) = inner.slots.slot_of(tag) else { return false };
            // While the controller is being stopped nobody knows what it still does.
            if inner.is_held || !inner.rings.withdraw(identifier(tag)) {
                return false;
            }
            let Some(content) = inner.slots.take(slot) else { return false };
            (content.request, content.extra.namespace)
        };
        request.end(|| slots::numbered(&self.controller, 'n', namespace), Err(Cause::Cancelled));
        true
    }

    /// Looks for requests that take too long; `now_ns` is the time since boot.
    pub(super) fn check(&self, now_ns: u64) -> Health {
        let mut inner = self.inner.lock();
        inner.slots.set_time(now_ns);
        if !inner.is_held && inner.slots.in_flight() > 0 {
            inner.rings.ring_again();
        }
        if inner.strays > MAX_STRAYS || inner.slots.overdue(ABORT_GRACE_NS).next().is_some() {
            return Health::Stuck;
        }
        let is_new = |slot: &u16| inner.slots.get(*slot).is_some_and(|content| !content.extra.is_aborting);
        let slot = inner.slots.overdue(0).find(is_new);
        match slot {
            Some(slot) => {
                if let Some(content) = inner.slots.get_mut(slot) {
                    content.extra.is_aborting = true;
                }
                Health::Abort(inner.slots.tag_of(slot).map_or(0, identifier))
            }
            None => Health::Good,
        }
    }

    /// Commands that completed since the start.
    pub(super) fn completed(&self) -> u64 {
        self.inner.lock().completed
    }

    /// From now on the device is told of nothing.
    pub(super) fn hold(&self) {
        self.inner.lock().is_held = true;
    }

    /// The device was reset and has forgotten everything: what was overdue ends with [`Cause::TimedOut`], as does what has been tried
    /// too often; the rest stays, for [`release`](Self::release).
    pub(super) fn forget(&self) {
        self.inner.lock().rings.reset();
        self.end_all(Cause::TimedOut, |content| content.extra.is_aborting || !content.may_repeat());
        let mut inner = self.inner.lock();
        inner.strays = 0;
        inner.slots.repeat_all();
    }

    /// The device works again: tells it of all that waits.
    pub(super) fn release(&self) {
        let mut inner = self.inner.lock();
        inner.is_held = false;
        for slot in 0..inner.rings.entries().0 {
            // What is described here was described before, when it came.
            if let (Some(tag), Ok(command)) = (inner.slots.tag_of(slot), inner.describe(slot)) {
                inner.rings.push(command, identifier(tag));
            }
        }
        inner.rings.ring();
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

    /// Refuses requests with `cause` from now on; those under way go on.
    pub(super) fn refuse(&self, cause: Cause) {
        self.inner.lock().refusal = Some(cause);
    }

    /// Takes completions; how many requests are still under way.
    pub(super) fn drain(&self) -> usize {
        self.poll();
        self.inner.lock().slots.in_flight()
    }

    fn end_all(&self, cause: Cause, mut wanted: impl FnMut(&slots::InFlight<Extra>) -> bool) {
        loop {
            let taken = self.inner.lock().slots.take_if(&mut wanted);
            let Some(content) = taken else { return };
            let namespace = content.extra.namespace;
            content.request.end(|| slots::numbered(&self.controller, 'n', namespace), Err(cause));
        }
    }
}

impl Inner {
    /// The command for the request in `slot`, whose list is filled in.
    #[inline]
    fn describe(&self, slot: u16) -> Result<Command, Cause> {
        let content = self.slots.get(slot).ok_or(Cause::Protocol)?;
        let (request, namespace) = (&content.request, content.extra.namespace);
        let list = usize::from(slot) * prp::LIST_BYTES;
        let list_address = self.lists.address() + list as u64;
        match request.operation {
            Operation::Flush => return Ok(Command::flush(namespace)),
            Operation::Discard => {
                self.lists.write_bytes(list, &command::range(request.sector, request.sectors));
                return Ok(Command::deallocate(namespace, list_address));
            }
            Operation::Read | Operation::Write => {}
        }
        let buffer = request.buffer.as_ref().ok_or(Cause::Misaligned)?;
        let blocks = u16::try_from(request.sectors).map_err(|_| Cause::Misaligned)?;
        let data = prp::describe(buffer.segments(), list_address, |index, address| {
            self.lists.write64(list + 8 * index, address);
        })
        .map_err(|_| Cause::Misaligned)?;
        Ok(match request.operation {
            Operation::Read => Command::read(namespace, request.sector, blocks, data),
            _ => Command::write(namespace, request.sector, blocks, data),
        })
    }

    /// Takes the next completion that belongs to a request. What belongs to none is counted and dropped.
    #[inline]
    fn reap(&mut self, own_number: u16) -> Option<(Request, u32, Result<(), Cause>)> {
        if self.is_held {
            return None;
        }
        loop {
            let Completion { queue, identifier: named, status, .. } = self.rings.pop()?;
            let slot = named & (MAX_ENTRIES - 1);
            let is_ours = queue == own_number && self.slots.tag_of(slot).map(identifier) == Some(named);
            let Some(content) = is_ours.then(|| self.slots.take(slot)).flatten() else {
                self.strays = self.strays.saturating_add(1);
                // Whoever writes nonsense into all entries gets no further than this before the next look at the clock.
                if self.strays > MAX_STRAYS {
                    return None;
                }
                continue;
            };
            self.completed = self.completed.wrapping_add(1);
            // An abort that worked is a time-out for whoever waits. One that nobody asked for is a controller's that is going away.
            let result = match status.cause() {
                None => Ok(()),
                Some(Cause::Cancelled) if content.extra.is_aborting => Err(Cause::TimedOut),
                Some(Cause::Cancelled) => Err(Cause::NotReady),
                Some(cause) => Err(cause),
            };
            return Some((content.request, content.extra.namespace, result));
        }
    }
}
