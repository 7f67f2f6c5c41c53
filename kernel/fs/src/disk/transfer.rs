// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to block devices on behalf of the running task: it submits, polls a while if the device is known to be quick, and
//! sleeps otherwise.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::{sync::Arc, vec::Vec};

use exo_drivers::block::{BlockError, Cause, Completion, Operation, Request, Requests, Sink};
use exo_hal::{MAX_CPUS, cpu::percpu::cpu_index, sync::SpinLock, time};
use exo_platform::Buffer;

use crate::{
    errno::{Errno, Result},
    sched::{
        self,
        wait::{WaitQueue, wait_on},
    },
};

/// Requests of one call that are under way at once.
pub(super) const WINDOW: usize = 8;
/// A device whose answers take longer on average is not polled: a switch to another task and back costs less.
const QUICK_NS: u64 = 30_000;

/// Where the ends of a call's requests are collected. The request's token is its place.
#[derive(Default)]
struct Waiter {
    ended: SpinLock<Ended>,
    queue: WaitQueue,
}

#[derive(Default)]
struct Ended {
    places: [Option<Completion>; WINDOW],
    /// How many of them are filled.
    count: usize,
}

impl Sink for Waiter {
    fn complete(&self, completion: Completion) {
        {
            let mut ended = self.ended.lock();
            if let Some(place) = ended.places.get_mut(completion.token as usize) {
                *place = Some(completion);
                ended.count += 1;
            }
        }
        self.queue.wake_all();
    }
}

/// Waiters that nobody uses, so that a call allocates none; each CPU has some.
static SPARE: [SpinLock<Vec<Arc<Waiter>>>; MAX_CPUS] = [const { SpinLock::new(Vec::new()) }; MAX_CPUS];
/// How many a CPU keeps.
const KEEP: usize = 16;

/// One call's requests to one device.
pub(super) struct Transfer<'a> {
    device: &'a dyn Requests,
    pace: &'a Pace,
    cpu: usize,
    waiter: Arc<Waiter>,
    /// Places whose requests are under way.
    busy: u32,
    since_ns: u64,
}

/// How quick a device is.
#[derive(Default)]
pub(super) struct Pace {
    average_ns: AtomicU64,
}

impl Pace {
    fn note(&self, ns: u64) {
        let old = self.average_ns.load(Ordering::Relaxed);
        self.average_ns.store(old - old / 8 + ns / 8, Ordering::Relaxed);
    }
}

impl<'a> Transfer<'a> {
    /// A call that has no requests yet.
    pub(super) fn new(device: &'a dyn Requests, pace: &'a Pace) -> Self {
        let cpu = cpu_index();
        let spare = SPARE.get(cpu).and_then(|spare| spare.lock().pop());
        Self { device, pace, cpu, waiter: spare.unwrap_or_default(), busy: 0, since_ns: 0 }
    }

    /// How many requests are under way.
    pub(super) fn under_way(&self) -> usize {
        self.busy.count_ones() as usize
    }

    /// Submits a request. The device learns of it with [`wait`](Self::wait) at the latest. If it is refused, the buffer comes back; with
    /// [`Cause::QueueFull`], this call's own requests have to end first.
    pub(super) fn submit(
        &mut self,
        operation: Operation,
        sector: u64,
        sectors: u32,
        buffer: Option<Buffer>,
    ) -> core::result::Result<(), (Option<Buffer>, BlockError)> {
        let place = self.busy.trailing_ones();
        let sink = self.waiter.clone();
        let request = Request { operation, sector, buffer, sectors, sink, token: place.into() };
        match self.device.submit(self.cpu, request) {
            Ok(_) => {
                if self.busy == 0 {
                    self.since_ns = time::now_ns();
                }
                self.busy |= 1 << place;
                Ok(())
            }
            Err(refused) => Err((refused.request.buffer, refused.why)),
        }
    }

    /// Waits until one of the requests has ended. It must not be called with none under way.
    pub(super) fn wait(&mut self) -> Result<Completion> {
        self.device.ring(self.cpu);
        let completion = match self.poll() {
            Some(completion) => completion,
            None => {
                let sleep = || {
                    self.device.poll(self.cpu);
                    self.waiter.take()
                };
                // A request cannot be taken back, so no signal but the end of the task ends the wait; it leaves the pages and the
                // waiter to the request.
                wait_on(&[&self.waiter.queue], None, false, sleep).map_err(|_| Errno::EINTR)?
            }
        };
        self.pace.note(time::now_ns().saturating_sub(self.since_ns));
        self.busy &= !(1 << completion.token);
        Ok(completion)
    }

    /// Looks for an end without sleeping, for as long as that pays.
    fn poll(&self) -> Option<Completion> {
        let average = self.pace.average_ns.load(Ordering::Relaxed);
        let limit = if average <= QUICK_NS { 2 * average + 1000 } else { 0 };
        loop {
            self.device.poll(self.cpu);
            let found = self.waiter.take();
            let waited = time::now_ns().saturating_sub(self.since_ns);
            if found.is_some() || waited > limit || sched::has_waiting() {
                return found;
            }
            exo_hal::tlb::answer();
            core::hint::spin_loop();
        }
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        // One that a request still knows is left to it.
        if self.busy == 0 {
            if let Some(spare) = SPARE.get(cpu_index()) {
                let mut spare = spare.lock();
                if spare.len() < KEEP {
                    spare.push(self.waiter.clone());
                }
            }
        }
    }
}

impl Waiter {
    fn take(&self) -> Option<Completion> {
        let mut ended = self.ended.lock();
        if ended.count == 0 {
            return None;
        }
        let found = ended.places.iter_mut().find_map(Option::take);
        ended.count -= 1;
        found
    }
}

/// Carries out one request without data, or with a buffer of the kernel's, and waits for its end.
pub(super) fn run(
    device: &dyn Requests,
    pace: &Pace,
    operation: Operation,
    (sector, sectors): (u64, u32),
    mut buffer: Option<Buffer>,
) -> Result<Option<Buffer>> {
    loop {
        let mut transfer = Transfer::new(device, pace);
        match transfer.submit(operation, sector, sectors, buffer) {
            Ok(()) => {
                let completion = transfer.wait()?;
                completion.result?;
                return Ok(completion.buffer);
            }
            Err((back, why)) if why.cause == Cause::QueueFull => {
                buffer = back;
                make_room(device, &transfer)?;
            }
            Err((_, why)) => return Err(why.into()),
        }
    }
}

/// The queue is full of others' requests: waits a moment.
pub(super) fn make_room(device: &dyn Requests, transfer: &Transfer<'_>) -> Result<()> {
    device.ring(transfer.cpu);
    device.poll(transfer.cpu);
    let soon = time::now_ns() + QUICK_NS;
    match wait_on(&[], Some(soon), false, || None::<()>) {
        Err(sched::wait::Ended::Interrupted) => Err(Errno::EINTR),
        _ => Ok(()),
    }
}
