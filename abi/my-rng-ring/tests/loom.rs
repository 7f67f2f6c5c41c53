// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring beside a device, in every order in which two processors can see each other's writes:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p my-rng-ring --test loom`.
#![cfg(loom)]

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;
use my_rng_ring::queue::{COMPLETED, INTERRUPT_AT, INTERRUPT_WANTED, POSTED, SLEEPING, passes};
use my_rng_ring::window::{Position, Taken, Window};
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

/// A position; the flag says whether orders are kept.
struct Word(AtomicU64, bool);

impl Word {
    fn order(&self, order: Ordering) -> Ordering {
        if self.1 { order } else { Ordering::Relaxed }
    }
}

impl Position for Word {
    fn load_acquire(&self) -> u64 {
        self.0.load(self.order(Ordering::Acquire))
    }
    fn store_release(&self, value: u64) {
        self.0.store(value, self.order(Ordering::Release));
    }
    fn compare_exchange(&self, old: u64, new: u64) -> bool {
        self.0.compare_exchange(old, new, self.order(Ordering::AcqRel), Ordering::Relaxed).is_ok()
    }
}

fn window(with_orders: bool) -> Window<Word> {
    Window::new(Word(AtomicU64::new(0), with_orders))
}

/// A ring of one number, which the device overwrites with the next when it was given back.
struct Stream {
    window: Window<Word>,
    slot: AtomicU64,
    /// Where the next window begins.
    next: Mutex<u64>,
}

impl Stream {
    /// Returns a position and what was found there.
    fn draw(&self) -> Option<(u64, u64)> {
        let read = |position| Some((position, self.slot.load(Ordering::Relaxed)));
        for _ in 0..2 {
            if let Taken::Some(number) = self.window.take(1, read) {
                return Some(number);
            }
            let mut next = self.next.lock().unwrap();
            if self.window.is_empty() {
                self.slot.store(*next, Ordering::Relaxed);
                self.window.open(*next..*next + 1);
                *next += 1;
            }
        }
        None
    }
}

fn taking(with_orders: bool) {
    loom::model(move || {
        let stream =
            Arc::new(Stream { window: window(with_orders), slot: AtomicU64::new(99), next: Mutex::new(0) });
        let other = {
            let stream = stream.clone();
            thread::spawn(move || stream.draw())
        };
        let mine = [stream.draw(), stream.draw()];
        let numbers: Vec<(u64, u64)> = mine.into_iter().chain([other.join().unwrap()]).flatten().collect();
        assert!(numbers.iter().all(|(position, number)| position == number), "not its number: {numbers:?}");
        let mut positions: Vec<u64> = numbers.iter().map(|(position, _)| *position).collect();
        positions.sort_unstable();
        positions.dedup();
        assert_eq!(positions.len(), numbers.len(), "taken twice: {numbers:?}");
    });
}

#[test]
fn what_is_taken_from_a_window_is_taken_once_and_is_what_was_there() {
    taking(true);
}

#[test]
#[should_panic(expected = "not its number")]
fn without_orders_a_window_shows_what_was_not_there() {
    taking(false);
}

#[test]
fn a_window_that_is_closed_gives_each_position_to_one() {
    loom::model(|| {
        let window = Arc::new(window(true));
        window.open(0..2);
        let taker = {
            let window = window.clone();
            thread::spawn(move || [window.take(1, Some), window.take(1, Some)])
        };
        let left = window.close();
        let taken = taker.join().unwrap().into_iter().filter(|taken| *taken != Taken::Empty);
        let expected: Vec<_> = (0..left.start).map(Taken::Some).collect();
        assert_eq!(taken.collect::<Vec<_>>(), expected, "left: {left:?}");
    });
}
