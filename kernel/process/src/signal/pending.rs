// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals that have been sent and not been handled. A standard signal is pending once; real-time signals queue up. The queue is
//! charged to the receiver's user and may be full or without memory: a standard signal is pending all the same, and only what came with it
//! (who sent it, and why) is lost.

use core::sync::atomic::Ordering;

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use exo_core::credentials::User;

use super::{Info, SignalSet, code, number, set::SYNCHRONOUS};
use crate::{
    errno::{Errno, Result},
    task::posix_timers::PosixTimer,
};

/// Most queued signals of a user, whatever the limit says: they are let go of with interrupts off.
const MOST_QUEUED: u64 = 8192;

/// A queued signal, counted for a user.
#[derive(Debug)]
struct Queued {
    info: Info,
    user: Arc<User>,
}

impl Queued {
    /// `limit` is the most that the user may have; none for signals that a full queue must not hold up.
    fn new(info: Info, user: Arc<User>, limit: Option<u64>) -> Result<Self> {
        let count = user.signals.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        let queued = Self { info, user };
        if limit.is_some_and(|limit| count > limit) { Err(Errno::EAGAIN) } else { Ok(queued) }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.user.signals.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who is charged for a signal, and how many more there may be.
pub struct Charge {
    user: Arc<User>,
    limit: u64,
}

impl Charge {
    /// `limit` is RLIMIT_SIGPENDING.
    pub fn new(user: Arc<User>, limit: u64) -> Self {
        Self { user, limit: limit.min(MOST_QUEUED) }
    }
}

/// Signals that have been sent and not been handled.
#[derive(Default)]
pub struct Pending {
    set: SignalSet,
    /// What is known of standard signals: one of each number at most.
    standard: Vec<Queued>,
    /// Real-time signals by their numbers; no queue is empty.
    realtime: Vec<(u32, VecDeque<Queued>)>,
    /// Timers whose signal is pending; each has one signal at most, beside those of its number that others sent.
    timers: Vec<Arc<PosixTimer>>,
}

/// A signal that was pending.
pub enum Taken {
    /// Whole.
    Signal(Info),
    /// That of a timer, which is asked for what comes with it.
    Timer(Arc<PosixTimer>),
}

impl Pending {
    /// The signals.
    pub fn set(&self) -> SignalSet {
        self.set
    }

    /// Bytes of the kernel's memory that it takes.
    pub fn kernel_memory(&self) -> usize {
        let queued =
            self.realtime.iter().map(|(_, queue)| queue.capacity()).sum::<usize>() + self.standard.capacity();
        queued * size_of::<Queued>() + self.timers.capacity() * size_of::<Arc<PosixTimer>>()
    }

    /// Room for the signals of `count` timers; EAGAIN if there is no memory.
    pub fn reserve_timers(&mut self, count: usize) -> Result<()> {
        let more = count.saturating_sub(self.timers.len());
        self.timers.try_reserve(more).map_err(|_| Errno::EAGAIN)
    }

    /// Adds the signal of a timer, unless it is pending already.
    pub fn add_timer(&mut self, timer: &Arc<PosixTimer>) {
        // There is room since the timer was made.
        if self.timers.len() < self.timers.capacity() && timer.enters_queue() {
            self.timers.push(timer.clone());
            self.set = self.set.and(SignalSet::of(timer.notice.signal));
        }
    }

    /// Adds a signal; EAGAIN if it is one that must not be told without what comes with it, and there is no room.
    pub fn add(&mut self, info: Info, charge: Charge) -> Result<()> {
        let signal = info.signal as u32;
        let is_standard = signal < number::FIRST_REALTIME;
        if is_standard && self.set.has(signal) {
            return Ok(());
        }
        let limit = (!(is_standard && info.code >= 0)).then_some(charge.limit);
        let queued = Queued::new(info, charge.user, limit).and_then(|queued| self.push(signal, queued));
        if queued.is_err() && !is_standard && info.code != code::USER && info.code != code::KERNEL {
            return Err(Errno::EAGAIN);
        }
        self.set = self.set.and(SignalSet::of(signal));
        Ok(())
    }

    fn push(&mut self, signal: u32, queued: Queued) -> Result<()> {
        if signal < number::FIRST_REALTIME {
            self.standard.try_reserve(1).map_err(|_| Errno::EAGAIN)?;
            self.standard.push(queued);
            return Ok(());
        }
        let at = match self.realtime.iter().position(|(number, _)| *number == signal) {
            Some(at) => at,
            None => {
                self.realtime.try_reserve(1).map_err(|_| Errno::EAGAIN)?;
                self.realtime.push((signal, VecDeque::new()));
                self.realtime.len() - 1
            }
        };
        let queue = self.realtime.get_mut(at).map(|(_, queue)| queue).ok_or(Errno::EAGAIN)?;
        let pushed = queue.try_reserve(1).map(|()| queue.push_back(queued)).map_err(|_| Errno::EAGAIN);
        self.realtime.retain(|(_, queue)| !queue.is_empty());
        pushed
    }

    /// Forgets signals.
    pub fn remove(&mut self, signals: SignalSet) {
        if self.set.0 & signals.0 != 0 {
            self.standard.retain(|queued| !signals.has(queued.info.signal as u32));
            self.realtime.retain(|(signal, _)| !signals.has(*signal));
            self.timers.retain(|timer| {
                let stays = !signals.has(timer.notice.signal);
                if !stays {
                    timer.leaves_queue();
                }
                stays
            });
            self.set.0 &= !signals.0;
        }
    }

    /// Takes the signal of `among` that comes first.
    pub fn take(&mut self, among: SignalSet) -> Option<Taken> {
        let ready = self.set.0 & among.0;
        if ready == 0 {
            return None;
        }
        let first = if ready & SYNCHRONOUS.0 != 0 { ready & SYNCHRONOUS.0 } else { ready };
        let signal = first.trailing_zeros() + 1;
        let (queued, more) = self.pop(signal);
        let is_timers = |timer: &Arc<PosixTimer>| timer.notice.signal == signal;
        let timer = self.timers.iter().position(is_timers);
        let taken = match (queued, timer) {
            (Some(queued), _) => Taken::Signal(queued.info),
            (None, Some(at)) => Taken::Timer(self.timers.remove(at)),
            // What was not queued looks as if nobody in particular had sent it.
            (None, None) => Taken::Signal(Info::sent_by(0, 0, signal, code::USER)),
        };
        if !more && !self.timers.iter().any(is_timers) {
            self.set.0 &= !SignalSet::of(signal).0;
        }
        Some(taken)
    }

    /// The first in the queue of a signal, and whether there are more.
    fn pop(&mut self, signal: u32) -> (Option<Queued>, bool) {
        if signal < number::FIRST_REALTIME {
            let at = self.standard.iter().position(|queued| queued.info.signal as u32 == signal);
            return (at.map(|at| self.standard.swap_remove(at)), false);
        }
        let Some(at) = self.realtime.iter().position(|(number, _)| *number == signal) else {
            return (None, false);
        };
        let Some((_, queue)) = self.realtime.get_mut(at) else { return (None, false) };
        let first = queue.pop_front();
        let more = !queue.is_empty();
        if !more {
            self.realtime.swap_remove(at);
        }
        (first, more)
    }
}
