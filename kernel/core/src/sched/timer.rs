// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers: for each CPU a list of things to do at a time, and the tick that ends time slices. The APIC is programmed for
//! whichever comes first, and only when that moves forward.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use exo_hal::{MAX_CPUS, cpu::percpu::cpu_index, dev::apic, sync::SpinLock, time};

use crate::thread::ThreadRef;

/// Time between two ticks of a busy CPU.
const TICK_NS: u64 = 10_000_000;
const NEVER: u64 = u64::MAX;
/// How many timers run out in one interrupt; the others do in the next, so that other interrupts come between.
const MOST_AT_ONCE: usize = 32;

/// Who is told when a timer runs out.
pub trait TimerTarget: Send + Sync {
    /// Called with interrupts off: it takes no longer than it takes to send a signal.
    fn expired(self: Arc<Self>);
}

/// What happens when a timer runs out.
pub enum Action {
    /// Wakes a task.
    Wake(ThreadRef),
    /// Tells somebody.
    Tell(Weak<dyn TimerTarget>),
    /// Calls a function, which must be short: no program runs meanwhile.
    Call(fn()),
}

/// Names a timer, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    cpu: usize,
    deadline: u64,
    number: u64,
}

/// On cache lines of its own, as what else a CPU has.
#[repr(align(128))]
struct Timers {
    list: SpinLock<BTreeMap<(u64, u64), Action>>,
    /// What the APIC is programmed for.
    programmed: AtomicU64,
    next_tick: AtomicU64,
}

static TIMERS: [Timers; MAX_CPUS] = [const {
    Timers {
        list: SpinLock::new(BTreeMap::new()),
        programmed: AtomicU64::new(NEVER),
        next_tick: AtomicU64::new(NEVER),
    }
}; MAX_CPUS];
static NUMBER: AtomicU64 = AtomicU64::new(0);

fn program(deadline: u64) {
    let this = &TIMERS[cpu_index()];
    if deadline < this.programmed.load(Ordering::Relaxed) {
        this.programmed.store(deadline, Ordering::Relaxed);
        apic::set_timer(deadline.saturating_sub(time::now_ns()));
    }
}

/// Does `action` at `deadline` (nanoseconds since boot).
pub fn add(deadline: u64, action: Action) -> Key {
    let key = Key { cpu: cpu_index(), deadline, number: NUMBER.fetch_add(1, Ordering::Relaxed) };
    TIMERS[key.cpu].list.lock().insert((deadline, key.number), action);
    program(deadline);
    key
}

/// Takes a timer back; false if it has run out already.
pub fn cancel(key: Key) -> bool {
    let removed = TIMERS[key.cpu].list.lock().remove(&(key.deadline, key.number));
    removed.is_some()
}

/// Sees to it that a busy CPU has its tick.
#[inline]
pub fn arm_tick() {
    let this = &TIMERS[cpu_index()];
    if this.next_tick.load(Ordering::Relaxed) == NEVER {
        let deadline = time::now_ns() + TICK_NS;
        this.next_tick.store(deadline, Ordering::Relaxed);
        program(deadline);
    }
}

/// An idle CPU needs no tick; its timers stay programmed.
pub fn arm_idle() {
    TIMERS[cpu_index()].next_tick.store(NEVER, Ordering::Relaxed);
}

/// The CPU has work again.
pub fn leave_idle() {
    arm_tick();
}

/// The timer interrupt.
pub fn expire() {
    let this = &TIMERS[cpu_index()];
    this.programmed.store(NEVER, Ordering::Relaxed);
    let now = time::now_ns();
    for _ in 0..MOST_AT_ONCE {
        let action = {
            let mut list = this.list.lock();
            match list.first_entry() {
                Some(entry) if entry.key().0 <= now => entry.remove(),
                _ => break,
            }
        };
        match action {
            Action::Wake(task) => {
                super::wake(&task);
            }
            Action::Call(function) => function(),
            Action::Tell(target) => {
                if let Some(target) = target.upgrade() {
                    target.expired();
                }
            }
        }
    }
    let tick = this.next_tick.load(Ordering::Relaxed);
    if tick <= now {
        this.next_tick.store(now + TICK_NS, Ordering::Relaxed);
        super::tick();
    }
    let first = this.list.lock().first_key_value().map_or(NEVER, |(key, _)| key.0);
    let next = first.min(this.next_tick.load(Ordering::Relaxed));
    if next != NEVER {
        program(next);
    }
}
