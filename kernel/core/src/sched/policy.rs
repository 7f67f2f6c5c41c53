// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who goes first: policies, nice values, and the order of a run queue that follows from them.
//!
//! Tasks with a real-time priority (FIFO, RR) go before all others, in the order of their priorities. The others share the CPU: each
//! has a *virtual time* that runs the slower the more weight its nice value gives it, and whose is least runs next. So everybody
//! who is runnable gets a share by weight, however often others wake each other.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use exo_hal::sync::SpinLock;
use exo_logic::inheritance::{NOTHING, Priority};
use linux_raw_sys::general as abi;

/// [`Priority`]s are compared, the smaller the better: 0 to 98 are real time, 100 to 139 are nice values from -20 to 19, and then comes
/// SCHED_IDLE.
const FIRST_FAIR: Priority = 100;
const NICE_0: Priority = 120;
const IDLE: Priority = 140;

/// Keys from here on are virtual times, those below real-time priorities.
pub const FAIR: u64 = 1 << 63;
/// What who wakes up must be behind whoever runs, in virtual nanoseconds, to take the CPU at once (Linux's
/// `sched_wakeup_granularity`): two that wake each other are left to themselves.
pub const WAKE_UP_LEAD: u64 = 1_000_000;
/// What taking the CPU from another task is charged at: an interrupt, two switches and cold caches, which the other would pay otherwise.
/// One that sleeps for a microsecond each time could keep it from running for ever.
pub const PREEMPTION_NS: u64 = 10_000;
/// By how much a task that slept may be behind those that did not.
const SLEEPERS_CREDIT: u64 = 3_000_000;
/// Where virtual time begins: so far from [`FAIR`] that the credit can be given.
pub const BEGINNING: u64 = FAIR + SLEEPERS_CREDIT;
/// How long a task of SCHED_RR runs while others of its priority wait, as on Linux.
pub const ROUND_NS: u64 = 100_000_000;

/// Weights of nice values from -20 to 19, each 1.25 times the next, and that of SCHED_IDLE: Linux's `sched_prio_to_weight`.
const WEIGHTS: [u32; 41] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121,
    2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29,
    23, 18, 15, 3,
];
/// The weight at which virtual time runs as fast as time.
const UNIT: u32 = 1024;
/// Longest time that is charged at once, so that the product fits 64 bits.
const LONGEST_TURN: u64 = 1 << 33;

/// How fast virtual time runs, times 2^20; real-time tasks have none.
fn pace(priority: Priority) -> u64 {
    if priority < FIRST_FAIR {
        return 0;
    }
    let index = priority.saturating_sub(FIRST_FAIR) as usize;
    let weight = WEIGHTS.get(index).copied().unwrap_or(UNIT);
    (u64::from(UNIT) << 20) / u64::from(weight)
}

/// What a program has set for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// SCHED_OTHER, FIFO, RR, BATCH or IDLE.
    pub number: u32,
    /// 1 to 99 for FIFO and RR, else 0.
    pub real_time: u32,
    /// -20 to 19.
    pub nice: i32,
    /// A child starts as SCHED_OTHER, and with no nice value below 0.
    pub reset_on_fork: bool,
}

impl Policy {
    /// What the first program has.
    pub const DEFAULT: Self = Self { number: abi::SCHED_NORMAL, real_time: 0, nice: 0, reset_on_fork: false };

    /// What Linux's kernel calls the priority: the smaller the better, 0 to 99 real-time, 120 for nice 0.
    pub fn kernel_priority(self) -> u64 {
        if Self::is_real_time(self.number) {
            u64::from(99 - self.real_time.min(99))
        } else {
            (120 + self.nice).unsigned_abs().into()
        }
    }

    /// Whether this is a real-time policy.
    pub fn is_real_time(number: u32) -> bool {
        matches!(number, abi::SCHED_FIFO | abi::SCHED_RR)
    }

    /// What it is worth beside others.
    pub fn priority(self) -> Priority {
        match self.number {
            abi::SCHED_FIFO | abi::SCHED_RR => 99 - self.real_time.clamp(1, 99),
            abi::SCHED_IDLE => IDLE,
            _ => NICE_0.saturating_add_signed(self.nice.clamp(-20, 19)),
        }
    }

    /// What a child starts with.
    pub fn of_child(self) -> Self {
        if !self.reset_on_fork {
            return self;
        }
        if Self::is_real_time(self.number) {
            Self::DEFAULT
        } else {
            Self { nice: self.nice.max(0), reset_on_fork: false, ..self }
        }
    }
}

/// A task's place in the order.
#[derive(Debug)]
pub struct Schedule {
    number: AtomicU32,
    real_time: AtomicU32,
    nice: AtomicI32,
    reset_on_fork: AtomicBool,
    /// The priority that is lent to it by those that wait for a lock of its, or [`NOTHING`].
    lent: AtomicU32,
    /// Held by who changes any of these.
    changes: SpinLock<()>,
    /// How fast the key grows, see [`pace`]; 0 for a real-time priority.
    pace: AtomicU64,
    /// Its place in a run queue: [`FAIR`] and its virtual nanoseconds, or a real-time priority.
    key: AtomicU64,
    /// The former while it has the latter.
    fair_key: AtomicU64,
}

impl Schedule {
    /// A new task's; its virtual time starts where `key` says, that of another.
    pub fn new(policy: Policy, key: u64) -> Self {
        let this = Self {
            number: AtomicU32::new(0),
            real_time: AtomicU32::new(0),
            nice: AtomicI32::new(0),
            reset_on_fork: AtomicBool::new(false),
            lent: AtomicU32::new(NOTHING),
            changes: SpinLock::new(()),
            pace: AtomicU64::new(0),
            key: AtomicU64::new(key.max(FAIR)),
            fair_key: AtomicU64::new(key.max(FAIR)),
        };
        this.set(policy, key.max(FAIR));
        this
    }

    /// What was set.
    pub fn policy(&self) -> Policy {
        Policy {
            number: self.number.load(Ordering::Relaxed),
            real_time: self.real_time.load(Ordering::Relaxed),
            nice: self.nice.load(Ordering::Relaxed),
            reset_on_fork: self.reset_on_fork.load(Ordering::Relaxed),
        }
    }

    /// Sets it; the task's queue has come as far as `now`. Who calls this puts the task into its queue anew.
    pub(super) fn set(&self, policy: Policy, now: u64) {
        let _changes = self.changes.lock();
        self.number.store(policy.number, Ordering::Relaxed);
        self.real_time.store(policy.real_time, Ordering::Relaxed);
        self.nice.store(policy.nice, Ordering::Relaxed);
        self.reset_on_fork.store(policy.reset_on_fork, Ordering::Relaxed);
        self.update(now);
    }

    /// Lends it a priority, or with [`NOTHING`] none any more; the rest as for [`Schedule::set`].
    pub(super) fn lend(&self, priority: Priority, now: u64) {
        let _changes = self.changes.lock();
        self.lent.store(priority, Ordering::Relaxed);
        self.update(now);
    }

    fn update(&self, now: u64) {
        let priority = self.policy().priority().min(self.lent.load(Ordering::Relaxed));
        let new = pace(priority);
        let old = self.pace.swap(new, Ordering::Relaxed);
        let key = self.key.load(Ordering::Relaxed);
        let mut fair_key = if key >= FAIR { key } else { self.fair_key.load(Ordering::Relaxed) };
        // What it is ahead of the others by was counted by its former weight: with more weight it has had less than its share.
        if let (Some(ahead), true) = (fair_key.checked_sub(now), old != 0 && new != 0) {
            let ahead = u128::from(ahead) * u128::from(new) / u128::from(old);
            fair_key = now.saturating_add(u64::try_from(ahead).unwrap_or(u64::MAX));
        }
        self.fair_key.store(fair_key, Ordering::Relaxed);
        let is_real_time = priority < FIRST_FAIR;
        self.key.store(if is_real_time { priority.into() } else { fair_key }, Ordering::Relaxed);
    }

    /// Whether it takes turns with others of its priority.
    pub fn takes_turns(&self) -> bool {
        self.number.load(Ordering::Relaxed) == abi::SCHED_RR
    }

    /// Its place in a run queue.
    #[inline(always)]
    pub(super) fn key(&self) -> u64 {
        self.key.load(Ordering::Relaxed)
    }

    /// Its place when it will have run for so many more nanoseconds.
    #[inline(always)]
    pub fn key_after(&self, ns: u64) -> u64 {
        self.key() + ((ns.min(LONGEST_TURN) * self.pace.load(Ordering::Relaxed)) >> 20)
    }

    /// It has run for so many nanoseconds. For the CPU that runs it.
    #[inline(always)]
    pub(super) fn charge(&self, ns: u64) {
        let now = self.key();
        let after = now + ((ns.min(LONGEST_TURN) * self.pace.load(Ordering::Relaxed)) >> 20);
        // If another CPU gives it another priority just now, that counts.
        let _ = self.key.compare_exchange(now, after, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// It has slept while the queue came as far as `now`, a key.
    #[inline(always)]
    pub(super) fn wake_at(&self, now: u64) {
        let (key, least) = (self.key(), now - SLEEPERS_CREDIT);
        if key < least && key >= FAIR {
            self.key.store(least, Ordering::Relaxed);
        }
    }

    /// It moves from a queue that has come as far as `from` to one that has come as far as `to`.
    pub(super) fn moves(&self, from: u64, to: u64) {
        let key = self.key();
        if key >= FAIR {
            let ahead = key.wrapping_sub(from) as i64;
            self.key.store(to.saturating_add_signed(ahead).max(FAIR), Ordering::Relaxed);
        }
    }
}
