// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a worker is told what to do: commands in order, and doorbells and interrupts, which are only bits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use vfio_user_server::Client;

use super::ring::RingSetUp;
use crate::registers::{OneShot, Vector};
use crate::shared::{QUEUES, VECTORS};

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Command {
    /// The queues are in this client's memory.
    Join(Client),
    /// Forget the client, then say so.
    Leave(SyncSender<()>),
    /// Serve this queue.
    Start(usize, RingSetUp),
    /// Let go of this queue.
    Stop(usize),
    /// Let go of everything, then say so.
    StopAll(SyncSender<()>),
    /// Do this transfer.
    OneShot(OneShot),
    /// End the thread.
    End,
    /// Have the worker fail.
    #[cfg(test)]
    Fail,
}

/// A worker's mailbox. The guest cannot make it grow, even while the worker waits for the client: its registers send a
/// command only when the one before it on the same queue, or the transfer before it, is done; of several
/// [`Command::StopAll`] in a row one is kept; the rest are bits.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    has_mail: AtomicBool,
    commands: Mutex<VecDeque<Command>>,
    /// A bit for each queue whose doorbell was rung.
    rung: AtomicU32,
    /// A bit for each vector that is to be signalled.
    interrupts: AtomicU64,
    reader: OnceLock<Thread>,
    /// Somebody called since the reader began to look. A thread's parking token alone does not keep that: whatever else
    /// the reader waits for in between, such as the answer to a DMA message, uses the token up.
    called: AtomicBool,
    waits_for_client: Arc<AtomicBool>,
    /// Doorbells are noted and wake nobody.
    deaf: AtomicBool,
}

const _: () = assert!(QUEUES <= u32::BITS as usize, "a bit for each queue");
const _: () = assert!(VECTORS as u32 <= u64::BITS, "a bit for each vector");

impl Mailbox {
    /// Whom to wake. What was sent before is seen by the thread's first look.
    pub(super) fn set_reader(&self, reader: Thread) {
        let _ = self.reader.set(reader);
    }

    /// Sends a command. Who sent a [`Command::StopAll`] just before another one has stopped waiting for it.
    pub(super) fn send(&self, command: Command) {
        {
            let mut commands = self.commands();
            if let (Some(Command::StopAll(_)), Command::StopAll(_)) = (commands.back(), &command) {
                commands.pop_back();
            }
            commands.push_back(command);
        }
        self.has_mail.store(true, Ordering::Release);
        self.wake();
    }

    /// Rings a queue's doorbell.
    pub(super) fn ring(&self, queue: usize) {
        let bit = u32::try_from(queue).ok().and_then(|queue| 1_u32.checked_shl(queue)).unwrap_or_default();
        self.rung.fetch_or(bit, Ordering::SeqCst);
        if !self.deaf.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Whether doorbells wake nobody for now. The reader looks after them by itself when that ends.
    pub(super) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Has an interrupt sent.
    pub(super) fn interrupt(&self, vector: Vector) {
        let bit = vector.0.and_then(|vector| 1_u64.checked_shl(vector.into())).unwrap_or_default();
        self.interrupts.fetch_or(bit, Ordering::AcqRel);
        self.wake();
    }

    /// Has the worker look around, or do so once more before it sleeps the next time.
    pub(super) fn wake(&self) {
        self.called.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }

    /// The reader looks around from here on: a call from now on keeps it from its next [`Self::sleep`].
    pub(super) fn begin_look(&self) {
        self.called.store(false, Ordering::SeqCst);
    }

    /// Sleeps until somebody calls, at most for `timeout`; not at all if somebody called since [`Self::begin_look`]. To be
    /// called by the reader. It may also return for no reason.
    pub(super) fn sleep(&self, timeout: Option<Duration>) {
        // A call that comes after this look leaves its token, as nothing else waits in between.
        if self.called.load(Ordering::SeqCst) {
            return;
        }
        match timeout {
            Some(timeout) => thread::park_timeout(timeout),
            None => thread::park(),
        }
    }

    /// Whether the worker waits for the client's answer to a DMA message.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::SeqCst)
    }

    /// The flag behind [`Self::waits_for_client`].
    pub(super) fn waiting_flag(&self) -> Arc<AtomicBool> {
        self.waits_for_client.clone()
    }

    /// Whether [`Self::next`] has anything to say. Costs one load.
    pub(super) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// The next command.
    pub(super) fn next(&self) -> Option<Command> {
        if !self.has_mail() {
            return None;
        }
        let mut commands = self.commands();
        let next = commands.pop_front();
        self.has_mail.store(!commands.is_empty(), Ordering::Release);
        next
    }

    /// The queues whose doorbells were rung since the last call.
    pub(super) fn take_rung(&self) -> impl Iterator<Item = usize> + use<> {
        let rung = match self.rung.load(Ordering::SeqCst) {
            0 => 0,
            _ => self.rung.swap(0, Ordering::AcqRel),
        };
        (0..QUEUES).filter(move |queue| rung & (1 << queue) != 0)
    }

    /// The interrupts that were asked for since the last call.
    pub(super) fn take_interrupts(&self) -> impl Iterator<Item = Vector> + use<> {
        let asked = match self.interrupts.load(Ordering::Acquire) {
            0 => 0,
            _ => self.interrupts.swap(0, Ordering::AcqRel),
        };
        (0..VECTORS).filter(move |vector| asked & (1 << vector) != 0).map(|vector| Vector(Some(vector)))
    }

    /// How many commands wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.commands().len()
    }

    fn commands(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
