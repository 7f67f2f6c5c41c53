// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring beside a device, in every order in which two processors can see each other's writes:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p my-rng-ring --test loom`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;
use my_rng_ring::queue::{COMPLETED, INTERRUPT_AT, INTERRUPT_WANTED, POSTED, SLEEPING, passes};
use my_rng_ring::{Layout, Ring, State, ring::is_reached};

/// The words of the state that matter here, and one word of a buffer.
#[derive(Default)]
struct Memory {
    posted: AtomicU32,
    interrupt_at: AtomicU32,
    interrupt_wanted: AtomicU32,
    completed: AtomicU32,
    sleeping: AtomicU32,
    error: AtomicU32,
    buffer: AtomicU32,
}

/// The flag says whether barriers are kept: without them the models must fail.
struct Shared(Arc<Memory>, bool);

impl Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        match offset {
            POSTED => &self.0.posted,
            INTERRUPT_AT => &self.0.interrupt_at,
            INTERRUPT_WANTED => &self.0.interrupt_wanted,
            COMPLETED => &self.0.completed,
            SLEEPING => &self.0.sleeping,
            _ => &self.0.error,
        }
    }
}

impl State for Shared {
    fn load(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Relaxed)
    }
    fn load_acquire(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }
    fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Relaxed);
    }
    fn store_release(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }
    fn full_barrier(&self) {
        if self.1 {
            fence(Ordering::SeqCst);
        }
    }
}

/// The device: completes what is posted, as rules 2 and 4 say. Returns the new count and whether it interrupts.
fn complete(memory: &Memory, old: u32) -> (u32, bool) {
    let new = memory.posted.load(Ordering::Acquire);
    if new == old {
        return (old, false);
    }
    memory.buffer.store(7, Ordering::Relaxed);
    memory.completed.store(new, Ordering::Release);
    fence(Ordering::SeqCst);
    let wanted = memory.interrupt_wanted.load(Ordering::Relaxed) == 1;
    (new, wanted && passes(memory.interrupt_at.load(Ordering::Relaxed), old, new))
}

fn ring(memory: &Arc<Memory>, with_barriers: bool) -> Ring<Shared> {
    Ring::attach(Shared(memory.clone(), with_barriers), Layout::new(1, 64).unwrap())
}

fn going_to_sleep(with_barriers: bool) {
    loom::model(move || {
        let memory = Arc::new(Memory::default());
        let device = {
            let memory = memory.clone();
            thread::spawn(move || {
                // Rule 3.
                memory.sleeping.store(1, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                memory.posted.load(Ordering::Relaxed) != 0
            })
        };
        let rings = ring(&memory, with_barriers).give_back();
        let sees = device.join().unwrap();
        assert!(sees || rings, "it sleeps, and nobody wakes it");
    });
}

#[test]
fn a_device_that_goes_to_sleep_sees_what_was_posted_or_is_woken() {
    going_to_sleep(true);
}

#[test]
#[should_panic(expected = "nobody wakes it")]
fn without_barriers_a_device_sleeps_for_ever() {
    going_to_sleep(false);
}

fn sleeping(with_barriers: bool) {
    loom::model(move || {
        let memory = Arc::new(Memory::default());
        let mut ring = ring(&memory, with_barriers);
        let _ = ring.give_back();
        let device = {
            let memory = memory.clone();
            thread::spawn(move || complete(&memory, 0).1)
        };
        let count = ring.ask_for_interrupt(1);
        let sleeps = !is_reached(ring.state(), count);
        let interrupts = device.join().unwrap();
        assert!(!sleeps || interrupts, "it sleeps, and no interrupt comes");
    });
}

#[test]
fn who_sleeps_for_a_completion_is_interrupted() {
    sleeping(true);
}

#[test]
#[should_panic(expected = "no interrupt comes")]
fn without_barriers_a_sleeper_sleeps_for_ever() {
    sleeping(false);
}

#[test]
fn what_is_taken_is_complete() {
    loom::model(|| {
        let memory = Arc::new(Memory::default());
        let mut ring = ring(&memory, true);
        let _ = ring.give_back();
        let device = {
            let memory = memory.clone();
            thread::spawn(move || complete(&memory, 0))
        };
        if ring.take(64).unwrap().is_some() {
            assert_eq!(memory.buffer.load(Ordering::Relaxed), 7, "it was not written yet");
        }
        device.join().unwrap();
    });
}
