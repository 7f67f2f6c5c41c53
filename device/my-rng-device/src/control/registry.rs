// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of the program, and the changes of them that are asked for.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use super::closer::Closer;
use super::protocol::{Answer, Which};
use crate::shared::Shared;
use crate::watchdog::Watched;
use crate::workers::LimitSetter;

/// A device, as far as it can be seen and changed from outside. Nobody but its own threads and the [`Registry`] keeps what is
/// in here, so that it can be seen when they are gone.
#[derive(Debug)]
pub struct Controlled {
    /// Where its clients connect.
    pub socket: PathBuf,
    /// What it shows.
    pub shared: Arc<Shared>,
    /// Its limits.
    pub limits: LimitSetter,
    /// What is watched of it, and what its server counts.
    pub watched: Watched,
    /// Whether it is being removed.
    pub is_ending: bool,
}

impl Controlled {
    /// Whether all of its threads have ended, the one that closes descriptors among them.
    pub fn has_ended(&self) -> bool {
        // One is here, the other one with the limits.
        Arc::strong_count(&self.shared) <= 2 && Arc::strong_count(&self.watched.server) <= 1
    }
}

/// The devices by their numbers. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<usize, Controlled>>>);

impl Registry {
    /// All devices. Who has them keeps others waiting, so that nothing that takes long may be done meanwhile.
    pub fn all(&self) -> MutexGuard<'_, BTreeMap<usize, Controlled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That there is no such device, and which there are.
pub fn no_device(what: &impl Display, devices: &BTreeMap<usize, Controlled>) -> String {
    let numbers: Vec<_> = devices.keys().map(usize::to_string).collect();
    match numbers.as_slice() {
        [] => format!("there is no {what}, and no other device"),
        _ => format!("there is no {what}, expected one of {}", numbers.join(", ")),
    }
}

/// What is to be done with the devices.
#[derive(Debug)]
pub enum Change {
    /// Serve another one, on the listening socket that this descriptor should be.
    Add(OwnedFd),
    /// End one, with its client.
    Remove(Which),
}

/// A change, for the thread that starts and ends devices.
#[derive(Debug)]
pub struct Order {
    /// What to do. Before the reply, also when it is dropped.
    pub change: Change,
    /// Where the answer goes.
    pub reply: Reply,
}

/// Takes one answer. If it is dropped without one, the change will not be made.
#[derive(Debug)]
pub struct Reply {
    to: mpsc::SyncSender<Answer>,
    answer: Option<Answer>,
    waker: Waker,
    /// The descriptor of which the change has a copy, and who closes it. It goes last, so that nobody else waits for that.
    original: Option<(OwnedFd, Closer)>,
}

impl Reply {
    pub(super) fn new(waker: &Waker, original: Option<(OwnedFd, Closer)>) -> (Self, mpsc::Receiver<Answer>) {
        let (to, from) = mpsc::sync_channel(1);
        (Self { to, answer: None, waker: waker.clone(), original }, from)
    }

    /// Answers. Never waits.
    pub fn send(mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let answer = self.answer.take().unwrap_or_else(|| Answer::Error("the program is ending".to_owned()));
        // Who asked may have gone away.
        let _ = self.to.try_send(answer);
        self.waker.wake();
        if let Some((original, closer)) = self.original.take() {
            closer.close(original);
        }
    }
}

/// Wakes the thread of the control socket. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    fn wake(&self) {
        // It can fail only because the count is full, and then it wakes all the same.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Forgets that it was woken.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }
}
