// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for a condition. Every wait is a loop around its condition, so that a wake-up too many does no harm.

use core::{
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloc::{
    collections::VecDeque,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{sync::SpinLock, time};
use exo_logic::sleep::Waiters;

use super::{
    schedule, spans,
    timer::{self, Action},
    wake,
};
use crate::{
    errno::Errno,
    thread::{Thread, ThreadRef, has_signal, running},
};

/// Why a wait ended without its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A signal is to be handled first.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
}

/// Until when is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// Nanoseconds since boot.
    Boot(u64),
    /// Nanoseconds since 1970, by the clock that programs may set.
    Wall(u64),
}

/// Those that wait for a time of the clock that can be set, and how often it was.
static WALL_CLOCK: WaitQueue = WaitQueue::new();
static WALL_CLOCK_SETS: AtomicUsize = AtomicUsize::new(0);

/// Sets the wall clock, and with it when those go on that wait for a time of it.
pub fn set_wall_clock(ns: u64) {
    time::set_wall_ns(ns);
    WALL_CLOCK_SETS.fetch_add(1, Ordering::SeqCst);
    WALL_CLOCK.wake_all();
}

/// Is told when what a queue is for has changed.
pub trait Observer: Send + Sync {
    /// Called with locks held that are not known here: it notes what has happened, and leaves the rest to others.
    fn changed(&self);

    /// The same for who knows which `POLL` bits have become true; whether that was of use to somebody who waits. Of those that observe
    /// exclusively, one such is enough.
    fn became(&self, events: u16) -> bool {
        let _ = events;
        self.changed();
        true
    }
}

/// One of a queue's observers.
struct Observing {
    observer: Weak<dyn Observer>,
    /// It wants to hear only what no other has a use for.
    is_exclusive: bool,
}

/// Most that are told of a queue's changes: that is done with interrupts off, and each may wake somebody.
const MOST_OBSERVERS: usize = 128;

/// Tasks that wait for the same thing.
pub struct WaitQueue {
    tasks: SpinLock<VecDeque<ThreadRef>>,
    observers: SpinLock<Vec<Observing>>,
    /// The lists' lengths, so that nobody takes a lock to find nobody.
    waiting: Waiters,
    observing: Waiters,
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitQueue {
    /// An empty queue.
    #[track_caller]
    pub const fn new() -> Self {
        Self {
            tasks: SpinLock::new(VecDeque::new()),
            observers: SpinLock::new(Vec::new()),
            waiting: Waiters::new(),
            observing: Waiters::new(),
        }
    }

    /// An empty queue whose changes are told to observers while others that were made at the same place tell of theirs: they watch one
    /// another, in no circle.
    #[track_caller]
    pub const fn nested() -> Self {
        Self {
            tasks: SpinLock::nested(VecDeque::new()),
            observers: SpinLock::nested(Vec::new()),
            waiting: Waiters::new(),
            observing: Waiters::new(),
        }
    }

    /// Wakes all who wait, after the caller has made their condition true.
    #[inline]
    pub fn wake_all(&self) {
        self.wake_tasks();
        if !self.observing.are_none_either() {
            self.tell_observers(None);
        }
    }

    /// The same where it is known which `POLL` bits have become true, and no others have: of the exclusive observers one is told.
    #[inline]
    pub fn wake_for(&self, events: u16) {
        self.wake_tasks();
        if !self.observing.are_none_either() {
            self.tell_observers(Some(events));
        }
    }

    #[inline]
    fn wake_tasks(&self) {
        if !self.waiting.are_none() {
            for task in self.tasks.lock().iter() {
                wake(task);
            }
        }
    }

    #[cold]
    fn tell_observers(&self, events: Option<u16>) {
        let mut observers = self.observers.lock();
        let mut is_taken = false;
        observers.retain(|Observing { observer, is_exclusive }| {
            if *is_exclusive && is_taken {
                return true;
            }
            let Some(observer) = observer.upgrade() else { return false };
            match events {
                None => observer.changed(),
                Some(events) => is_taken |= observer.became(events) && *is_exclusive,
            }
            true
        });
        self.observing.set(observers.len());
    }

    /// Whether a task waits.
    pub fn has_waiters(&self) -> bool {
        !self.waiting.are_none_either()
    }

    /// Tells `observer` of changes, as long as somebody keeps it. Who is told already goes on being told, once.
    ///
    /// # Errors
    /// ENOSPC if there are too many, ENOMEM.
    pub fn observe(&self, observer: &Arc<dyn Observer>) -> Result<(), Errno> {
        self.enter_observer(observer, false)
    }

    /// The same, but of several that observe exclusively only the first that has a use for an event is told of it.
    ///
    /// # Errors
    /// As [`Self::observe`].
    pub fn observe_exclusively(&self, observer: &Arc<dyn Observer>) -> Result<(), Errno> {
        self.enter_observer(observer, true)
    }

    fn enter_observer(&self, observer: &Arc<dyn Observer>, is_exclusive: bool) -> Result<(), Errno> {
        let mut observers = self.observers.lock();
        observers.retain(|known| known.observer.strong_count() > 0);
        if observers.iter().any(|known| ptr::addr_eq(known.observer.as_ptr(), Arc::as_ptr(observer))) {
            return Ok(());
        }
        if observers.len() >= MOST_OBSERVERS {
            return Err(Errno::ENOSPC);
        }
        observers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        observers.push(Observing { observer: Arc::downgrade(observer), is_exclusive });
        self.observing.set(observers.len());
        Ok(())
    }

    fn add(&self, task: ThreadRef) {
        let mut tasks = self.tasks.lock();
        tasks.push_back(task);
        self.waiting.set(tasks.len());
    }

    fn remove(&self, task: &Thread) {
        let mut tasks = self.tasks.lock();
        let is_it = |t: &ThreadRef| t.is(task);
        if tasks.front().is_some_and(is_it) {
            tasks.pop_front();
        } else if let Some(at) = tasks.iter().position(is_it) {
            tasks.remove(at);
        } else {
            return;
        }
        self.waiting.set(tasks.len());
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
    let task = running();
    for (index, queue) in queues.iter().enumerate() {
        queue.add(task.counted());
        let_others_in(index);
    }
    let key = deadline.map(|at| timer::add(at, Action::Wake(task.counted())));
    let result = loop {
        // Before the condition: who makes it true after we looked finds us sleeping and wakes us.
        task.state.begin_sleep();
        if let Some(value) = condition() {
            break Ok(value);
        }
        if task.is_killed() || interruptible && has_signal() {
            break Err(Ended::Interrupted);
        }
        if deadline.is_some_and(|at| time::now_ns() >= at) {
            break Err(Ended::TimedOut);
        }
        schedule();
    };
    task.state.set_runnable();
    if let Some(key) = key {
        timer::cancel(key);
    }
    for (index, queue) in queues.iter().enumerate() {
        queue.remove(&task);
        let_others_in(index);
    }
    result
}

/// Now and then while a task enters many queues: how many there are the program has chosen.
#[inline]
fn let_others_in(index: usize) {
    if index % 16 == 15 {
        // Whether it is to end is looked at with the condition.
        let _ = spans::point();
    }
}

/// Waits until `condition` gives a value or a time of either clock has come.
pub fn wait_until<T>(
    deadline: Option<Deadline>,
    interruptible: bool,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T, Ended> {
    let wall = match deadline {
        None => return wait_on(&[], None, interruptible, condition),
        Some(Deadline::Boot(at)) => return wait_on(&[], Some(at), interruptible, condition),
        Some(Deadline::Wall(at)) => at,
    };
    loop {
        let sets = WALL_CLOCK_SETS.load(Ordering::SeqCst);
        let now = time::now_ns();
        let at = now.saturating_add(wall.saturating_sub(time::wall_ns()));
        let was_set = || WALL_CLOCK_SETS.load(Ordering::SeqCst) != sets;
        let look = || condition().map(Some).or_else(|| was_set().then_some(None));
        match wait_on(&[&WALL_CLOCK], Some(at), interruptible, look) {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(ended) => return Err(ended),
        }
    }
}

/// Waits without a deadline, until the condition holds or a signal comes.
pub fn wait_for<T>(queue: &WaitQueue, condition: impl FnMut() -> Option<T>) -> Result<T, Ended> {
    wait_on(&[queue], None, true, condition)
}

/// Sleeps until `deadline`, if any, or a signal.
pub fn sleep_until(deadline: Option<Deadline>) -> Ended {
    match wait_until(deadline, true, || None::<()>) {
        Ok(()) => Ended::TimedOut,
        Err(ended) => ended,
    }
}
