// SPDX-License-Identifier: MIT OR Apache-2.0
//! Says when a worker does not get on, or when the closing of what a client sent takes long.
//!
//! Nothing in this program waits for ever by design; but a worker touches memory that a guest shares, and what a host's
//! kernel does for that is not in our hands. The watchdog sleeps while nobody works: whoever begins something calls it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use log::{info, warn};
use vfio_user_server::{Counters, Shutdown};

use crate::activity::Activity;
use crate::control::{Controlled, Registry};

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

/// What is watched of a device.
#[derive(Debug, Clone)]
pub struct Watched {
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
pub fn run(devices: &Registry, caller: &Caller, shutdown: &Shutdown) {
    let _ = caller.0.thread.set(thread::current());
    let mut seen = BTreeMap::<usize, Seen>::new();
    while !shutdown.is_triggered() {
        if !caller.0.awake.load(Ordering::SeqCst) {
            thread::park();
            continue;
        }
        thread::park_timeout(LOOK);
        caller.0.awake.store(false, Ordering::SeqCst);
        let busy = look(&devices.all(), &mut seen);
        if busy {
            caller.0.awake.store(true, Ordering::SeqCst);
        }
    }
}

/// Looks at all devices. `true`: somebody is at work, or something takes long.
fn look(devices: &BTreeMap<usize, Controlled>, seen: &mut BTreeMap<usize, Seen>) -> bool {
    // A number may belong to another device than at the last look.
    seen.retain(|number, seen| {
        devices.get(number).is_some_and(|device| Arc::ptr_eq(&device.watched.health, &seen.health))
    });
    devices.iter().fold(false, |busy, (number, device)| {
        let seen = seen.entry(*number).or_insert_with(|| Seen::new(&device.watched));
        seen.look(&device.socket.display(), &device.watched) | busy
    })
}

/// A device as it was at the last look.
#[derive(Debug)]
struct Seen {
    health: Arc<Health>,
    /// What each worker showed, and for how many looks.
    workers: Vec<(Option<u64>, u64)>,
    reported_closing: bool,
}

impl Seen {
    fn new(watched: &Watched) -> Self {
        let workers = vec![(None, 0); watched.workers.len()];
        Self { health: watched.health.clone(), workers, reported_closing: false }
    }

    /// Looks at everything of the device that the log calls `name`. `true`: somebody is at work, or something takes long.
    fn look(&mut self, name: &impl Display, watched: &Watched) -> bool {
        let (mut busy, mut stuck, mut longest) = (false, 0_u64, 0);
        for ((before, looks), worker) in self.workers.iter_mut().zip(&watched.workers) {
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
        self.health.stuck_workers.store(stuck, Ordering::Relaxed);
        self.health.stuck_seconds.store(longest, Ordering::Relaxed);
        let closing = watched.server.closing_for();
        let long = closing.is_some_and(|closing| closing >= LOOK.saturating_mul(STUCK_LOOKS as u32));
        if long && !self.reported_closing {
            let waiting = watched.server.unclosed_descriptors();
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
        let watched = Watched {
            workers: vec![stuck.clone(), well.clone()],
            server: Arc::default(),
            health: health.clone(),
        };
        let mut seen = Seen::new(&watched);
        assert!(!seen.look(&"a", &watched), "both sleep");
        stuck.wake();
        well.wake();
        for look in 0..2 * STUCK_LOOKS {
            well.beat();
            assert!(seen.look(&"a", &watched));
            assert_eq!(health.stuck_workers(), u64::from(look >= STUCK_LOOKS));
        }
        assert_eq!(health.stuck_seconds(), 2 * STUCK_LOOKS - 1);
        stuck.rest();
        assert!(seen.look(&"a", &watched), "the other one works");
        assert_eq!((health.stuck_workers(), health.stuck_seconds()), (0, 0));
    }
}
