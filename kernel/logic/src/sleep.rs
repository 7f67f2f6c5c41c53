// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a task comes to sleep and another wakes it, as far as it is about order between CPUs. `tests/loom.rs` tries all orders.
//!
//! Who waits enters itself ([`Waiters`]), begins to sleep ([`State::begin_sleep`]), looks at its condition, and only then leaves the CPU.
//! Who makes a condition true looks afterwards who waits ([`Waiters::are_none`]), and wakes them ([`State::wake`]). Each writes
//! first and then reads what the other writes, so both need a full fence in between, or both may read what was before: then the one sleeps
//! for ever.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence};

/// How many wait for something, to be known without the lock of the list that they are in.
#[derive(Debug, Default)]
pub struct Waiters(AtomicUsize);

impl Waiters {
    /// Nobody waits.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// So many wait, says who has the list locked. One who enters the list looks at its condition afterwards.
    pub fn set(&self, count: usize) {
        self.0.store(count, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// One more waits, and looks at its condition afterwards.
    pub fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// One less.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The same for who has asked another list before, whose fence does for both.
    #[inline]
    pub fn are_none_either(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Whether nobody waits who could miss what the caller has just made true.
    #[inline]
    pub fn are_none(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It runs, or waits in a run queue.
    Runnable,
    /// It waits for something.
    Sleeping,
    /// It has ended, and never runs again.
    Dead,
}

const RUNNABLE: u8 = 0;
const SLEEPING: u8 = 1;
const DEAD: u8 = 2;

/// A task's state.
#[derive(Debug)]
pub struct State(AtomicU8);

impl Default for State {
    fn default() -> Self {
        Self(AtomicU8::new(RUNNABLE))
    }
}

impl State {
    /// What it does.
    #[inline(always)]
    pub fn get(&self) -> RunState {
        match self.0.load(Ordering::Acquire) {
            RUNNABLE => RunState::Runnable,
            SLEEPING => RunState::Sleeping,
            _ => RunState::Dead,
        }
    }

    /// Whether it runs or wants to.
    #[inline(always)]
    pub fn is_runnable(&self) -> bool {
        self.get() == RunState::Runnable
    }

    /// The running task is about to sleep, and looks at its condition next: who makes it true from now on wakes it.
    #[inline(always)]
    pub fn begin_sleep(&self) {
        self.0.store(SLEEPING, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// It does not sleep, or not any more.
    #[inline(always)]
    pub fn set_runnable(&self) {
        self.0.store(RUNNABLE, Ordering::Release);
    }

    /// Ends a sleep; true if there was one, so that the task must be put into a run queue.
    #[inline(always)]
    pub fn wake(&self) -> bool {
        self.0.compare_exchange(SLEEPING, RUNNABLE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// It has ended.
    pub fn end(&self) {
        self.0.store(DEAD, Ordering::Release);
    }
}
