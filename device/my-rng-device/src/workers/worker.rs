// SPDX-License-Identifier: MIT OR Apache-2.0
//! One worker: goes around its queues, a step each, so that none waits for another; watches them for a moment when
//! there is nothing to do; sleeps when there is still nothing.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, error, warn};
use my_rng_abi::registers as abi;
use vfio_user_server::{Interrupts, Shutdown};

use super::mailbox::{Command, Mailbox};
use super::ring::{Ring, RingSetUp};
use crate::activity::Activity;
use crate::budget::{Budget, Places};
use crate::entropy::{EntropyStream, erase};
use crate::limiter::Amount;
use crate::logging;
use crate::memory::{Memory, SharedMemory};
use crate::queue::{CUT, Fault, Limit, STEP, Source, SourceDry, Step, Work};
use crate::registers::{OneShot, Stream, Vector};
use crate::shared::{RunState, Shared};
use crate::virtio::signals::Cause;

/// Pauses between two looks at queues without work.
const PAUSES: usize = 16;

/// How long not to listen to doorbells after one that was rung for nothing, if there are limits: they do not count what
/// the host does for such a doorbell, so that there can only be so many. Twice as long after each further one.
const DEAF: Duration = Duration::from_millis(1);

/// Most times that this is doubled.
const MAX_DOUBLINGS: u32 = 3;

/// How long to leave a source alone that had nothing.
const DRY_PAUSE: Duration = Duration::from_millis(100);

/// A queue that this worker serves.
#[derive(Debug)]
struct Served {
    number: usize,
    queue: Ring,
    idle_since: Option<Instant>,
    /// Where it waits for a limit.
    place: Places,
    /// Its doorbell has just woken it, and nothing was found yet.
    rung: bool,
}

/// A one-shot transfer under way.
#[derive(Debug)]
struct Transfer {
    what: OneShot,
    done: usize,
    /// Where it waits for a limit.
    place: Places,
}

/// What a round leaves to be done.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// Go around again at once.
    Work,
    /// Some queue is being watched.
    Watch,
    /// Nothing is to be done before that time.
    Sleep(Option<Duration>),
    /// The limits allow nothing before that time.
    Wait(Duration),
}

impl Next {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Work, _) | (_, Self::Work) => Self::Work,
            (Self::Watch, _) | (_, Self::Watch) => Self::Watch,
            (Self::Sleep(one), Self::Sleep(other)) => Self::Sleep(one.into_iter().chain(other).min()),
            (Self::Wait(one), Self::Wait(other)) => Self::Wait(one.min(other)),
            (Self::Wait(wait), Self::Sleep(None)) | (Self::Sleep(None), Self::Wait(wait)) => Self::Wait(wait),
            (Self::Wait(one), Self::Sleep(Some(other))) | (Self::Sleep(Some(other)), Self::Wait(one)) => {
                Self::Sleep(Some(one.min(other)))
            }
        }
    }
}

/// A worker's state. Made by another thread, run by its own.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    client: Option<(SharedMemory, Interrupts)>,
    queues: Vec<Served>,
    transfer: Option<Transfer>,
    entropy: EntropyStream,
    space: Box<[u8; STEP]>,
    /// The queue whose turn is first in the next round.
    first: usize,
    /// Until then doorbells are not listened to.
    deaf_until: Option<Instant>,
    /// Doorbells that were rung for nothing since there was last something to do.
    in_vain: u32,
    /// Most bytes of `space` that were used since it was erased.
    used: usize,
    activity: Arc<Activity>,
}

/// Says that a worker has failed, however it did.
struct Guard<'a>(&'a Shared, &'a Shutdown);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            error!("a worker has failed, which is a bug of this program; its device ends");
            self.0.failed.store(true, Ordering::SeqCst);
            self.1.trigger();
        }
    }
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>, activity: Arc<Activity>) -> Self {
        Self {
            shared,
            mailbox,
            client: None,
            queues: Vec::new(),
            transfer: None,
            entropy: EntropyStream::new(),
            space: Box::new([0; STEP]),
            first: 0,
            deaf_until: None,
            in_vain: 0,
            used: 0,
            activity,
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self, shutdown: &Shutdown) {
        let shared = self.shared.clone();
        let _guard = Guard(&shared, shutdown);
        if let Some(number) = shared.number {
            logging::set_device(number);
        }
        self.activity.wake();
        loop {
            self.activity.beat();
            self.mailbox.begin_look();
            while let Some(command) = self.mailbox.next() {
                if !self.obey(command) {
                    return;
                }
            }
            self.listen();
            for vector in self.mailbox.take_interrupts() {
                self.interrupt(vector);
            }
            match self.round() {
                Next::Work => {}
                Next::Watch => {
                    (0..PAUSES).for_each(|_| spin_loop());
                    // Whom this worker has just woken may be waiting for this processor.
                    thread::yield_now();
                }
                Next::Sleep(timeout) => self.sleep(timeout),
                Next::Wait(wait) => {
                    // No doorbell can give anybody anything before that.
                    self.mailbox.set_deaf(true);
                    self.sleep(Some(wait.saturating_add(self.shared.limiter.slack())));
                    self.mailbox.set_deaf(self.deaf_until.is_some());
                }
            }
        }
    }

    fn sleep(&mut self, timeout: Option<Duration>) {
        // Whoever reads this process's memory meanwhile finds neither numbers nor the key of later ones.
        erase(self.space.get_mut(..self.used).unwrap_or_default());
        self.used = 0;
        self.entropy.forget_key();
        let listens_in = self.deaf_until.map(|until| until.saturating_duration_since(Instant::now()));
        self.activity.rest();
        self.mailbox.sleep(timeout.into_iter().chain(listens_in).min());
        self.activity.wake();
        self.shared.watchdog.call();
    }

    /// Looks after the doorbells that were rung, unless the last one was rung for nothing.
    fn listen(&mut self) {
        if let Some(until) = self.deaf_until {
            if Instant::now() < until {
                return;
            }
            self.deaf_until = None;
            self.mailbox.set_deaf(false);
        }
        for queue in self.mailbox.take_rung() {
            self.wake(queue);
        }
    }

    /// `false`: the end.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Join(client) => {
                let memory = SharedMemory::new(client.memory.handle(), self.mailbox.waiting_flag());
                self.client = Some((memory, client.interrupts));
            }
            Command::Leave(done) => {
                self.client = None;
                drop(self.mailbox.take_interrupts()); // They are not for the next client.
                let _ = done.send(());
            }
            Command::Start(number, set_up) => self.start(number, set_up),
            Command::Stop(number) => {
                if let Some(place) = self.queues.iter().position(|served| served.number == number) {
                    self.shared.limiter.leave(&mut self.queues.swap_remove(place).place);
                }
                self.set_off(number);
            }
            Command::StopAll(done) => {
                for mut served in std::mem::take(&mut self.queues) {
                    self.shared.limiter.leave(&mut served.place);
                    self.set_off(served.number);
                }
                if let Some(mut transfer) = self.transfer.take() {
                    self.shared.limiter.leave(&mut transfer.place);
                    self.shared.one_shot.set(0);
                }
                let _ = done.send(());
            }
            Command::OneShot(what) => {
                self.transfer = Some(Transfer { what, done: 0, place: Places::default() });
            }
            Command::End => return false,
            #[cfg(test)]
            Command::Fail => panic!("as a test wants it"),
        }
        true
    }

    fn set_off(&self, number: usize) {
        if let Some(cell) = self.shared.queue(number) {
            cell.set_state(RunState::Off);
        }
    }

    fn start(&mut self, number: usize, set_up: RingSetUp) {
        let Some((memory, _)) = &mut self.client else { return self.set_off(number) };
        match Ring::start(set_up, memory) {
            Ok(queue) => {
                let place = Places::default();
                self.queues.push(Served { number, queue, idle_since: None, place, rung: false });
            }
            Err(fault) => self.fail(number, set_up, fault),
        }
    }

    fn wake(&mut self, number: usize) {
        let Some((memory, _)) = &mut self.client else { return };
        let Some(served) = self.queues.iter_mut().find(|served| served.number == number) else { return };
        // A queue that is awake is looked at anyway, and doorbells do not keep it so.
        if !served.queue.is_asleep() {
            return;
        }
        served.idle_since = None;
        served.rung = true;
        if let Err(fault) = served.queue.wake(memory) {
            self.drop_failed(number, fault);
        }
    }

    /// One step for each queue and for the transfer.
    fn round(&mut self) -> Next {
        let mut next = self.transfer_step();
        let count = self.queues.len();
        self.first = self.first.wrapping_add(1);
        for turn in 0..count {
            if self.mailbox.has_mail() {
                return Next::Work; // A stop does not wait for the other queues.
            }
            let place = self.first.wrapping_add(turn).checked_rem(count).unwrap_or_default();
            match self.queue_step(place) {
                Ok(then) => next = next.and(then),
                Err((number, fault)) => {
                    self.drop_failed(number, fault);
                    return Next::Work; // The places have moved.
                }
            }
        }
        next
    }

    fn queue_step(&mut self, place: usize) -> Result<Next, (usize, Fault)> {
        let Self { shared, client, queues, entropy, space, .. } = self;
        let (Some(served), Some((memory, _))) = (queues.get_mut(place), client) else {
            return Ok(Next::Sleep(None));
        };
        let number = served.number;
        if served.queue.is_asleep() {
            return Ok(Next::Sleep(None));
        }
        let set_up = served.queue.set_up();
        let stream = set_up.stream();
        let mut source = Tap { stream, shared, entropy };
        let was_waiting = served.place.taken().is_some();
        let mut limit = Waiting { limiter: &shared.limiter, place: &mut served.place };
        let step =
            served.queue.step(memory, &mut source, space, &mut limit).map_err(|fault| (number, fault))?;
        match step {
            Step::Worked(work) => {
                served.idle_since = None;
                served.rung = false;
                self.in_vain = 0;
                self.used = self.used.max(work.bytes);
                count(shared, number, stream, work);
                if work.interrupt {
                    if let Some(cell) = shared.queue(number) {
                        cell.counters.interrupts.add_one();
                    }
                    self.interrupt_for(set_up, Cause::Queue);
                }
                Ok(Next::Work)
            }
            Step::Throttled(wait) => {
                if !was_waiting {
                    shared.counters.throttles.add_one();
                }
                Ok(Next::Wait(wait))
            }
            Step::Dry => Ok(Next::Sleep(Some(DRY_PAUSE))),
            Step::Idle => {
                let now = Instant::now();
                let since = *served.idle_since.get_or_insert(now);
                // A guest with a limit gets no processor time for doorbells alone.
                let in_vain = std::mem::take(&mut served.rung) && shared.limiter.is_limited();
                if in_vain {
                    served.idle_since = now.checked_sub(served.queue.watch());
                    self.deaf_until = now.checked_add(DEAF.saturating_mul(1 << self.in_vain));
                    self.in_vain = self.in_vain.saturating_add(1).min(MAX_DOUBLINGS);
                    self.mailbox.set_deaf(true);
                    shared.counters.doorbells_in_vain.add_one();
                } else if now.duration_since(since) < served.queue.watch() {
                    return Ok(Next::Watch);
                }
                match served.queue.try_to_sleep(memory).map_err(|fault| (number, fault))? {
                    true => {
                        shared.counters.sleeps.add_one();
                        Ok(Next::Sleep(None))
                    }
                    false => Ok(Next::Work),
                }
            }
        }
    }

    fn transfer_step(&mut self) -> Next {
        let Some(Transfer { what, done, place }) = &mut self.transfer else { return Next::Sleep(None) };
        let (what, done) = (*what, *done);
        let Some((memory, _)) = &mut self.client else {
            self.end_transfer(what, false);
            return Next::Work;
        };
        if done == 0 && memory.check_writable(what.address, what.length).is_err() {
            self.end_transfer(what, false);
            return Next::Work;
        }
        let mut limit = Waiting { limiter: &self.shared.limiter, place };
        let portion = usize::try_from(limit.most().bytes).unwrap_or(STEP).min(STEP);
        // Numbers are not cut in two, unless what was asked for is the end.
        let portion = if portion < CUT { portion } else { portion - portion % CUT };
        let length = what.length.saturating_sub(done).min(portion);
        if let Err(wait) = limit.take(Amount { operations: u64::from(done == 0), bytes: length as u64 }) {
            return Next::Wait(wait);
        }
        self.used = self.used.max(length);
        let bytes = self.space.get_mut(..length).unwrap_or_default();
        let mut source = Tap { stream: what.stream, shared: &self.shared, entropy: &mut self.entropy };
        if source.fill(bytes, &[length]).is_err() {
            return Next::Sleep(Some(DRY_PAUSE));
        }
        // The end of the range was found to be an address.
        let written = memory.write(what.address.saturating_add(done as u64), bytes).is_ok();
        if written {
            bytes_counter(&self.shared, what.stream).add(length as u64);
        }
        let done = done.saturating_add(length);
        self.transfer = Some(Transfer { what, done, place: Places::default() });
        if !written || done >= what.length {
            self.end_transfer(what, written);
        }
        Next::Work
    }

    fn end_transfer(&mut self, what: OneShot, good: bool) {
        let shared = &self.shared;
        if let Some(mut transfer) = self.transfer.take() {
            shared.limiter.leave(&mut transfer.place);
        }
        if good {
            shared.counters.one_shots.add_one();
        } else {
            shared.counters.one_shot_errors.add_one();
            shared.raise_status(abi::STATUS_ONE_SHOT_ERROR);
        }
        shared.one_shot.set(if good { 0 } else { abi::ONE_SHOT_ERROR });
        self.interrupt(what.vector);
    }

    fn drop_failed(&mut self, number: usize, fault: Fault) {
        let Some(place) = self.queues.iter().position(|served| served.number == number) else { return };
        let mut served = self.queues.swap_remove(place);
        self.shared.limiter.leave(&mut served.place);
        self.fail(number, served.queue.set_up(), fault);
    }

    /// Tells the guest that a queue has stopped.
    fn fail(&mut self, number: usize, set_up: RingSetUp, fault: Fault) {
        debug!("queue {number} stopped: {fault:?}");
        self.shared.counters.queue_errors.add_one();
        if let Some((memory, _)) = &mut self.client {
            set_up.fail(fault, memory, &self.shared);
        }
        if let Some(cell) = self.shared.queue(number) {
            cell.counters.errors.add_one();
            cell.set_state(RunState::Off);
        }
        if matches!(set_up, RingSetUp::Native(_)) || self.shared.signals.needs_reset() {
            self.interrupt_for(set_up, Cause::Config);
        }
    }

    /// Interrupts as the queue's personality does.
    fn interrupt_for(&self, set_up: RingSetUp, cause: Cause) {
        match (set_up, &self.client) {
            (RingSetUp::Native(set_up), _) => self.interrupt(set_up.vector),
            (RingSetUp::Virtio(_), Some((_, interrupts))) => {
                self.shared.count_interrupt(self.shared.signals.send(cause, interrupts));
            }
            (RingSetUp::Virtio(_), None) => {}
        }
    }

    fn interrupt(&self, vector: Vector) {
        let (Some((_, interrupts)), Some(vector)) = (&self.client, vector.0) else { return };
        match interrupts.trigger(self.shared.power_on.interrupts.index(), vector.into()) {
            true => self.shared.counters.interrupts.add_one(),
            false => self.shared.counters.interrupts_unassigned.add_one(),
        }
    }
}

/// A queue's or a transfer's way to the limits.
struct Waiting<'a> {
    limiter: &'a Budget,
    place: &'a mut Places,
}

impl Limit for Waiting<'_> {
    fn most(&self) -> Amount {
        self.place.taken().unwrap_or_else(|| self.limiter.portion())
    }

    fn take(&mut self, amount: Amount) -> Result<(), Duration> {
        self.limiter.take(self.place, amount)
    }

    fn leave(&mut self) {
        self.limiter.leave(self.place);
    }
}

/// Where a queue's bytes come from.
struct Tap<'a> {
    stream: Stream,
    shared: &'a Shared,
    entropy: &'a mut EntropyStream,
}

impl Source for Tap<'_> {
    fn fill(&mut self, bytes: &mut [u8], pieces: &[usize]) -> Result<(), SourceDry> {
        match self.stream {
            Stream::Entropy => {
                let before = self.entropy.rekeys();
                self.entropy.enter_generation(self.shared.generation());
                let filled = self.entropy.fill(bytes);
                self.shared.counters.rekeys.add(self.entropy.rekeys().wrapping_sub(before));
                filled.map_err(|error| {
                    self.shared.counters.rekey_failures.add_one();
                    warn!("the host gives no key for the entropy stream: {error}; trying again soon");
                    SourceDry
                })
            }
            Stream::Seedable => {
                let mut stream = self.shared.stream();
                let mut rest = bytes;
                for &piece in pieces {
                    let Some((bytes, after)) = rest.split_at_mut_checked(piece) else { break };
                    stream.fill(bytes);
                    rest = after;
                }
                Ok(())
            }
        }
    }
}

fn bytes_counter(shared: &Shared, stream: Stream) -> &crate::metrics::Counter {
    match stream {
        Stream::Entropy => &shared.counters.entropy_bytes,
        Stream::Seedable => &shared.counters.seedable_bytes,
    }
}

fn count(shared: &Shared, queue: usize, stream: Stream, work: Work) {
    bytes_counter(shared, stream).add(work.bytes as u64);
    shared.counters.buffers.add(work.buffers.into());
    if let Some(cell) = shared.queue(queue) {
        cell.counters.bytes.add(work.bytes as u64);
        cell.counters.buffers.add(work.buffers.into());
    }
}
