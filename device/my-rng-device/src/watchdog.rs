// SPDX-License-Identifier: MIT OR Apache-2.0
//! Says when a worker does not get on, or when the closing of what a client sent takes long.
//!
//! Nothing in this program waits for ever by design; but a worker touches memory that a guest shares, and what a host's
//! kernel does for that is not in our hands. The watchdog sleeps while nobody works: whoever begins something calls it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use log::{info, warn};
use vfio_user_server::{Counters, Shutdown};

use crate::activity::Activity;

/// How often the watchdog looks while somebody works.
pub const LOOK: Duration = Duration::from_secs(1);

/// After so many looks without progress a worker is stuck: longer than a client may take for the answer to a message.
const STUCK_LOOKS: u64 = 8;

/// What can be seen of a device's health.
#[derive(Debug, Default)]
pub struct Health {
    stuck_workers: AtomicU64,
    stuck_seconds: AtomicU64,
}

impl Health {
    /// Workers that do not get on.
    pub fn stuck_workers(&self) -> u64 {
        self.stuck_workers.load(Ordering::Relaxed)
    }

    /// For how many seconds the one that has been stuck for longest has been so; 0 if there is none.
    pub fn stuck_seconds(&self) -> u64 {
        self.stuck_seconds.load(Ordering::Relaxed)
    }
}

/// A device that is watched.
#[derive(Debug)]
pub struct Watched {
    /// What the log calls it.
    pub name: String,
    /// Its workers.
    pub workers: Vec<Arc<Activity>>,
    /// Its server.
    pub server: Arc<Counters>,
    /// What others see.
    pub health: Arc<Health>,
}

/// Wakes the watchdog. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Caller(Arc<Called>);

#[derive(Debug, Default)]
struct Called {
    awake: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

impl Caller {
    /// Something begins that could take long. Costs one load as a rule.
    pub fn call(&self) {
        if !self.0.awake.load(Ordering::Relaxed) && !self.0.awake.swap(true, Ordering::SeqCst) {
            if let Some(thread) = self.0.thread.get() {
                thread.unpark();
            }
        }
    }
}

/// Watches until `shutdown` is triggered; to be run by a thread of its own. The call that comes with the end wakes it.
pub fn run(devices: Vec<Watched>, caller: &Caller, shutdown: &Shutdown) {
    let _ = caller.0.thread.set(thread::current());
    let mut devices: Vec<_> = devices.into_iter().map(Seen::new).collect();
    while !shutdown.is_triggered() {
        if !caller.0.awake.load(Ordering::SeqCst) {
            thread::park();
            continue;
        }
        thread::park_timeout(LOOK);
        caller.0.awake.store(false, Ordering::SeqCst);
        let busy = devices.iter_mut().fold(false, |busy, device| device.look() | busy);
        if busy {
            caller.0.awake.store(true, Ordering::SeqCst);
        }
    }
}

/// A device as it was at the last look.
#[derive(Debug)]
struct Seen {
    watched: Watched,
    /// What each worker showed, and for how many looks.
    workers: Vec<(Option<u64>, u64)>,
    reported_closing: bool,
}

impl Seen {
    fn new(watched: Watched) -> Self {
        Self { workers: vec![(None, 0); watched.workers.len()], watched, reported_closing: false }
    }

    /// Looks at everything. `true`: somebody is at work, or something takes long.
    fn look(&mut self) -> bool {
        let name = &self.watched.name;
        let (mut busy, mut stuck, mut longest) = (false, 0_u64, 0);
        for ((before, looks), worker) in self.workers.iter_mut().zip(&self.watched.workers) {
            let now = worker.seen();
            busy |= now.is_some();
            let was_stuck = *looks >= STUCK_LOOKS;
            *looks = if now.is_some() && now == *before { looks.saturating_add(1) } else { 0 };
            *before = now;
            match *looks >= STUCK_LOOKS {
                true if !was_stuck => warn!("{name}: a worker is stuck"),
                false if was_stuck => info!("{name}: a worker is no longer stuck"),
                _ => {}
            }
            if *looks >= STUCK_LOOKS {
                stuck = stuck.saturating_add(1);
                longest = longest.max(looks.saturating_mul(LOOK.as_secs()));
            }
        }
        self.watched.health.stuck_workers.store(stuck, Ordering::Relaxed);
        self.watched.health.stuck_seconds.store(longest, Ordering::Relaxed);
        let closing = self.watched.server.closing_for();
        let long = closing.is_some_and(|closing| closing >= LOOK.saturating_mul(STUCK_LOOKS as u32));
        if long && !self.reported_closing {
            let waiting = self.watched.server.unclosed_descriptors();
            warn!("{name}: a descriptor that a client sent does not close; {waiting} wait");
        }
        self.reported_closing = long;
        busy || closing.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_get_on_is_reported_until_it_does() {
        let [stuck, well] = [Arc::<Activity>::default(), Arc::<Activity>::default()];
        let health = Arc::<Health>::default();
        let mut seen = Seen::new(Watched {
            name: "a".to_owned(),
            workers: vec![stuck.clone(), well.clone()],
            server: Arc::default(),
            health: health.clone(),
        });
        assert!(!seen.look(), "both sleep");
        stuck.wake();
        well.wake();
        for look in 0..2 * STUCK_LOOKS {
            well.beat();
            assert!(seen.look());
            assert_eq!(health.stuck_workers(), u64::from(look >= STUCK_LOOKS));
        }
        assert_eq!(health.stuck_seconds(), 2 * STUCK_LOOKS - 1);
        stuck.rest();
        assert!(seen.look(), "the other one works");
        assert_eq!((health.stuck_workers(), health.stuck_seconds()), (0, 0));
    }
}
