// SPDX-License-Identifier: MIT OR Apache-2.0
//! Synchronous messages between processes through endpoints.
//!
//! An endpoint is a descriptor: who has it may send and receive, and it is passed on by fork, kept across exec and closed like
//! a file. A message is three words. Nothing is buffered: a sender waits for a receiver and the other way round, and the
//! message goes straight from one task to the other, which then runs.

use core::sync::atomic::Ordering;

use alloc::{collections::VecDeque, sync::Arc};

use exo_hal::sync::SpinLock;

pub use crate::task::message::{Message, WORDS};
use crate::{
    anonymous,
    errno::{Errno, Result},
    fallible,
    fs::{OpenFile, file::File},
    sched::{self, wait::wait_on},
    task::{Task, current},
};

struct Sender {
    task: Arc<Task>,
    message: Message,
}

#[derive(Default)]
struct State {
    senders: VecDeque<Sender>,
    receivers: VecDeque<Arc<Task>>,
}

/// An endpoint.
#[derive(Default)]
pub struct Endpoint {
    state: SpinLock<State>,
}

struct Handle(Endpoint);

impl File for Handle {
    fn anonymous_name(&self) -> Option<&'static str> {
        Some("[endpoint]")
    }
}

/// The endpoint behind an open file, if it is one.
#[inline]
pub fn of(file: &OpenFile) -> Option<&Endpoint> {
    file.file().downcast::<Handle>().map(|handle| &handle.0)
}

/// Makes an endpoint: an open file without a name.
///
/// # Errors
/// ENOMEM.
pub fn create() -> Result<Arc<OpenFile>> {
    anonymous::open(Handle(Endpoint::default()), 0o600, linux_raw_sys::general::O_RDWR)
}

/// Waits until somebody puts a message into the running task. `withdraw` is asked when a signal comes: whether nobody has begun to
/// deliver one, and nobody will. A message that is on its way is not lost.
fn wait_for_message(withdraw: impl FnOnce() -> bool) -> Result<Message> {
    let task = current();
    let arrived = || task.ipc.lock().take();
    match wait_on(&[], None, true, arrived) {
        Ok(message) => Ok(message),
        Err(_) if withdraw() => Err(Errno::EINTR),
        Err(_) => wait_on(&[], None, false, arrived).map_err(|_| Errno::EINTR),
    }
}

fn deliver(to: &Arc<Task>, message: Message) {
    *to.ipc.lock() = Some(message);
    sched::wake_here(to);
}

impl Endpoint {
    /// Gives the message to a receiver that waits, or queues the running task. True if it was taken at once.
    fn offer(&self, message: Message) -> Result<bool> {
        let receiver = {
            let mut state = self.state.lock();
            let receiver = state.receivers.pop_front();
            if receiver.is_none() {
                let sender = Sender { task: current().arc(), message };
                fallible::push_back(&mut state.senders, sender)?;
            }
            receiver
        };
        Ok(receiver.map(|task| deliver(&task, message)).is_some())
    }

    fn withdraw(&self) -> bool {
        let own = current().tid();
        let mut state = self.state.lock();
        let before = state.senders.len();
        state.senders.retain(|s| s.task.tid() != own);
        state.senders.len() != before
    }

    /// Takes the running task out of those that wait for a message; false if one is on its way to it.
    fn stop_receiving(&self) -> bool {
        let own = current().tid();
        let mut state = self.state.lock();
        let before = state.receivers.len();
        state.receivers.retain(|t| t.tid() != own);
        state.receivers.len() != before
    }

    /// Sends; returns when a receiver has the message.
    pub fn send(&self, words: [u64; WORDS]) -> Result<()> {
        if self.offer(Message { words, caller: 0 })? {
            return Ok(());
        }
        let own = current().tid();
        let waited = wait_on(&[], None, true, || {
            (!self.state.lock().senders.iter().any(|s| s.task.tid() == own)).then_some(())
        });
        match waited {
            Err(_) if self.withdraw() => Err(Errno::RESTART),
            _ => Ok(()),
        }
    }

    /// Sends and waits for the answer.
    #[inline]
    pub fn call(&self, words: [u64; WORDS]) -> Result<Message> {
        let task = current();
        *task.ipc.lock() = None;
        task.awaiting.store(self.address(), Ordering::Release);
        if let Err(error) = self.offer(Message { words, caller: task.tid() }) {
            task.awaiting.store(0, Ordering::Release);
            return Err(error);
        }
        let answer = wait_for_message(|| {
            task.awaiting.compare_exchange(self.address(), 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        task.awaiting.store(0, Ordering::Release);
        match answer {
            Ok(answer) => Ok(answer),
            // Not taken yet: the call can simply be made again. Taken: the answer, when it comes, finds nobody.
            Err(_) if self.withdraw() => Err(Errno::RESTART),
            Err(error) => Err(error),
        }
    }

    /// Answers the task that waits in [`call`](Self::call) on this very endpoint; the token is what its message came with. Who
    /// has no such endpoint can answer nobody.
    #[inline]
    pub fn reply(&self, token: u32, words: [u64; WORDS]) -> Result<()> {
        let task = crate::task::table::task(token).ok_or(Errno::ESRCH)?;
        let waits = task.awaiting.compare_exchange(self.address(), 0, Ordering::AcqRel, Ordering::Relaxed);
        waits.map_err(|_| Errno::ESRCH)?;
        deliver(&task, Message { words, caller: 0 });
        Ok(())
    }

    fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Receives.
    #[inline]
    pub fn receive(&self) -> Result<Message> {
        let sender = {
            let mut state = self.state.lock();
            let sender = state.senders.pop_front();
            if sender.is_none() {
                *current().ipc.lock() = None;
                fallible::push_back(&mut state.receivers, current().arc())?;
            }
            sender
        };
        match sender {
            Some(sender) => {
                if sender.message.caller == 0 {
                    sched::wake(&sender.task);
                }
                Ok(sender.message)
            }
            None => wait_for_message(|| self.stop_receiving()).map_err(|_| Errno::RESTART),
        }
    }
}
