// SPDX-License-Identifier: MIT OR Apache-2.0
//! The workers of one device: threads that serve its queues and one-shot transfers.
//!
//! Each device has workers of its own, so that a guest that makes one wait can only make its own wait. A queue belongs
//! to one worker for good; a worker that has nothing to do sleeps until it is called.

mod mailbox;
mod ring;
mod worker;

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vfio_user_server::{Client, Shutdown};

use crate::activity::Activity;
use crate::limiter::Limits;
use crate::registers::Effect;
use crate::shared::{QUEUES, QueueCell, Shared};
use crate::virtio::virtqueue;
use mailbox::{Command, Mailbox};
use ring::RingSetUp;
use worker::Worker;

/// Most workers that a device has without being told: more than these cannot be fed by most guests.
const DEFAULT_MOST: usize = 4;

/// How often to look whether a worker that should answer is waiting for the client itself.
const GLANCE: Duration = Duration::from_millis(1);

/// How long a device that is to end waits for a worker that does not get on.
const GRACE: Duration = Duration::from_secs(1);

/// The workers of one device.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    workers: Vec<(Arc<Mailbox>, Option<JoinHandle<()>>)>,
    activities: Vec<Arc<Activity>>,
    shutdown: Option<Shutdown>,
}

/// Changes a device's limits while it runs, from any thread.
#[derive(Debug, Clone)]
pub struct LimitSetter {
    shared: Arc<Shared>,
    mailboxes: Vec<Arc<Mailbox>>,
}

impl LimitSetter {
    /// Changes the limits; workers that wait for the old ones look again.
    pub fn set(&self, limits: Limits) {
        self.shared.limiter.set(limits);
        self.mailboxes.iter().for_each(|mailbox| mailbox.wake());
    }
}

/// How many workers a device has without being told: one for every two processors, as the guest needs the others.
pub fn default_count() -> NonZero<usize> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    NonZero::new((processors / 2).clamp(1, DEFAULT_MOST)).unwrap_or(NonZero::<usize>::MIN)
}

impl Workers {
    /// Starts `count` workers, at most one for each queue. If one of them fails, which would be a bug, it triggers
    /// `shutdown`, that of this device alone, as a device whose queues stand still is worse than none.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub fn start(shared: Arc<Shared>, count: NonZero<usize>, shutdown: &Shutdown) -> io::Result<Self> {
        let mut new = Self {
            shared: shared.clone(),
            workers: Vec::new(),
            activities: Vec::new(),
            shutdown: Some(shutdown.clone()),
        };
        for _ in 0..count.get().min(QUEUES) {
            let mailbox = Arc::<Mailbox>::default();
            let activity = Arc::<Activity>::default();
            new.activities.push(activity.clone());
            let worker = Worker::new(shared.clone(), mailbox.clone(), activity);
            let shutdown = shutdown.clone();
            let run = move || worker.run(&shutdown);
            let thread = thread::Builder::new().name("worker".to_owned()).spawn(run)?;
            mailbox.set_reader(thread.thread().clone());
            new.workers.push((mailbox, Some(thread)));
        }
        Ok(new)
    }

    /// Does what a register write asked for. Returns at once.
    pub fn act(&self, effect: Effect) {
        match effect {
            Effect::Start(queue, set_up) => self.serve(queue, RingSetUp::Native(set_up)),
            Effect::Stop(queue) => self.of(queue, |worker| worker.send(Command::Stop(queue))),
            Effect::Doorbell(queue) => self.of(queue, |worker| worker.ring(queue)),
            Effect::OneShot(transfer) => self.of(0, |worker| worker.send(Command::OneShot(transfer))),
            Effect::Interrupt(vector) => self.of(0, |worker| worker.interrupt(vector)),
        }
    }

    /// Serves a virtqueue from now on, whose state is [`RunState::Running`](crate::shared::RunState::Running) already.
    pub fn start_virtqueue(&self, queue: usize, set_up: virtqueue::SetUp) {
        self.serve(queue, RingSetUp::Virtio(set_up));
    }

    fn serve(&self, queue: usize, set_up: RingSetUp) {
        self.of(queue, |worker| worker.send(Command::Start(queue, set_up)));
    }

    /// What each worker shows of its work.
    pub fn activities(&self) -> Vec<Arc<Activity>> {
        self.activities.clone()
    }

    /// A way for other threads to change the limits.
    pub fn limit_setter(&self) -> LimitSetter {
        let mailboxes = self.workers.iter().map(|(mailbox, _)| mailbox.clone()).collect();
        LimitSetter { shared: self.shared.clone(), mailboxes }
    }

    /// From now on the queues are in this client's memory.
    pub fn join(&self, client: &Client) {
        self.workers.iter().for_each(|(worker, _)| worker.send(Command::Join(client.clone())));
    }

    /// Stops all queues and the transfer. When this returns, none of them writes any more; only if a worker waits for
    /// the client's answer to a DMA message, which comes through the calling thread, its queues stay
    /// [`RunState::Stopping`](crate::shared::RunState::Stopping), and the transfer runs, until it has come.
    pub fn stop_all(&self) {
        self.shared.queues().iter().for_each(QueueCell::stop);
        self.ask_all(Command::StopAll, Mailbox::waits_for_client);
    }

    /// Stops everything and uses nothing of the client any more. To be called when the client's answers have ended: a
    /// worker that waits for one then fails at once, and is waited for.
    pub fn leave(&self) {
        self.stop_all();
        self.ask_all(Command::Leave, |_| false);
    }

    /// Sends a command to all workers and waits until they have done it, or `may_go_on` says not to wait for one.
    fn ask_all(
        &self,
        command: impl Fn(mpsc::SyncSender<()>) -> Command,
        may_go_on: impl Fn(&Mailbox) -> bool,
    ) {
        let asked: Vec<_> = self
            .workers
            .iter()
            .map(|(worker, _)| {
                let (done, is_done) = mpsc::sync_channel(1);
                worker.send(command(done));
                (worker, is_done)
            })
            .collect();
        let mut end = None;
        for (worker, is_done) in asked {
            while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(GLANCE) {
                // A worker that has failed reads no commands; the device is ending for it.
                if may_go_on(worker) || self.shared.failed.load(Ordering::SeqCst) {
                    break;
                }
                // One that is stuck must not keep the program from ending.
                if self.shutdown.as_ref().is_some_and(Shutdown::is_triggered)
                    && end.get_or_insert_with(Instant::now).elapsed() > GRACE
                {
                    break;
                }
            }
        }
    }

    /// A device's only worker, which waits for an answer to a DMA message and does nothing else.
    #[cfg(test)]
    pub(crate) fn stuck(shared: Arc<Shared>) -> Self {
        let mailbox = Arc::<Mailbox>::default();
        mailbox.waiting_flag().store(true, Ordering::SeqCst);
        Self { shared, workers: vec![(mailbox, None)], activities: Vec::new(), shutdown: None }
    }

    /// How many commands wait for the workers.
    #[cfg(test)]
    pub(crate) fn commands(&self) -> usize {
        self.workers.iter().map(|(worker, _)| worker.len()).sum()
    }

    fn of(&self, queue: usize, act: impl FnOnce(&Mailbox)) {
        let place = queue.checked_rem(self.workers.len()).unwrap_or_default();
        if let Some((worker, _)) = self.workers.get(place) {
            act(worker);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.workers.iter().for_each(|(worker, _)| worker.send(Command::End));
        let start = Instant::now();
        for thread in self.workers.iter_mut().filter_map(|(_, thread)| thread.take()) {
            while !thread.is_finished() && start.elapsed() < GRACE {
                thread::sleep(GLANCE);
            }
            // A worker that failed has said so; one that is stuck is left to the end of the process.
            let _ = thread.is_finished().then(|| thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
