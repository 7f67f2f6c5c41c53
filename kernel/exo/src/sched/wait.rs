// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for a condition. Every wait is a loop around its condition, so that a wake-up too many does no harm.

use core::sync::atomic::{AtomicUsize, Ordering, fence};

use alloc::{
    collections::{TryReserveError, VecDeque},
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{sync::SpinLock, time};

use super::{
    schedule, state,
    timer::{self, Action},
    wake,
};
use crate::task::{Task, current};

/// Why a wait ended without its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A signal is to be handled first.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
}

/// Is told when what a queue is for has changed.
pub trait Observer: Send + Sync {
    /// Called with locks held that are not known here: it notes what has happened, and leaves the rest to others.
    fn changed(&self);
}

/// Tasks that wait for the same thing.
pub struct WaitQueue {
    tasks: SpinLock<VecDeque<Arc<Task>>>,
    observers: SpinLock<Vec<Weak<dyn Observer>>>,
    /// Both lengths together, so that nobody takes a lock to find nobody.
    count: AtomicUsize,
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            tasks: SpinLock::new(VecDeque::new()),
            observers: SpinLock::new(Vec::new()),
            count: AtomicUsize::new(0),
        }
    }

    /// Wakes all who wait, after the caller has made their condition true.
    #[inline]
    pub fn wake_all(&self) {
        // The caller's store comes before the look at who waits; who waits enters itself before it looks at the condition.
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) > 0 {
            for task in self.tasks.lock().iter() {
                wake(task);
            }
            self.tell_observers();
        }
    }

    fn tell_observers(&self) {
        let mut observers = self.observers.lock();
        let before = observers.len();
        observers.retain(|observer| {
            observer.upgrade().is_some_and(|observer| {
                observer.changed();
                true
            })
        });
        self.count.fetch_sub(before - observers.len(), Ordering::SeqCst);
    }

    /// Tells `observer` of changes, as long as somebody keeps it.
    pub fn observe(&self, observer: &Arc<dyn Observer>) -> Result<(), TryReserveError> {
        let mut observers = self.observers.lock();
        let before = observers.len();
        observers.retain(|observer| observer.strong_count() > 0);
        self.count.fetch_sub(before - observers.len(), Ordering::SeqCst);
        observers.try_reserve(1)?;
        observers.push(Arc::downgrade(observer));
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn add(&self, task: Arc<Task>) {
        let mut tasks = self.tasks.lock();
        tasks.push_back(task);
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    fn remove(&self, task: &Task) {
        let mut tasks = self.tasks.lock();
        let is_it = |t: &Arc<Task>| core::ptr::eq(Arc::as_ptr(t), task);
        if tasks.front().is_some_and(is_it) {
            tasks.pop_front();
        } else if let Some(at) = tasks.iter().position(is_it) {
            tasks.remove(at);
        } else {
            return;
        }
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits until `condition` gives a value. `deadline` is in nanoseconds since boot.
pub fn wait_on<T>(
    queues: &[&WaitQueue],
    deadline: Option<u64>,
    interruptible: bool,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T, Ended> {
    // Where nothing has to be prepared, it is looked at below all the same.
    if !queues.is_empty() || deadline.is_some() {
        if let Some(value) = condition() {
            return Ok(value);
        }
    }
    wait_after_look(queues, deadline, interruptible, condition)
}

/// The same for who has just found that the condition does not hold.
pub fn wait_after_look<T>(
    queues: &[&WaitQueue],
    deadline: Option<u64>,
    interruptible: bool,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T, Ended> {
    let task = current();
    for queue in queues {
        queue.add(task.arc());
    }
    let key = deadline.map(|at| timer::add(at, Action::Wake(Arc::downgrade(&task.arc()))));
    let result = loop {
        // Before the condition: who makes it true after we looked finds us sleeping and wakes us.
        task.state.store(state::SLEEPING, Ordering::SeqCst);
        if let Some(value) = condition() {
            break Ok(value);
        }
        if task.is_killed() || interruptible && task.has_signal() {
            break Err(Ended::Interrupted);
        }
        if deadline.is_some_and(|at| time::now_ns() >= at) {
            break Err(Ended::TimedOut);
        }
        schedule();
    };
    task.state.store(state::RUNNABLE, Ordering::Release);
    if let Some(key) = key {
        timer::cancel(key);
    }
    for queue in queues {
        queue.remove(&task);
    }
    result
}

/// Waits without a deadline, until the condition holds or a signal comes.
pub fn wait_for<T>(queue: &WaitQueue, condition: impl FnMut() -> Option<T>) -> Result<T, Ended> {
    wait_on(&[queue], None, true, condition)
}

/// Sleeps until `deadline`, if any, or a signal.
pub fn sleep_until(deadline: Option<u64>) -> Ended {
    match wait_on(&[], deadline, true, || None::<()>) {
        Ok(()) => Ended::TimedOut,
        Err(ended) => ended,
    }
}
