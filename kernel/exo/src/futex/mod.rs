// SPDX-License-Identifier: MIT OR Apache-2.0
//! Futexes: waiting for a word of memory to change, and waking who waits. A word is named by its address space and address,
//! or, if it is in shared memory, by its page frame. Those that know their owner and inherit priorities: [`pi`].

pub mod pi;
pub mod robust;
mod vector;

pub use vector::{Word, wait_for_any};

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::{collections::VecDeque, sync::Arc};

use exo_hal::{PAGE_SIZE, sync::SpinLock};
use exo_logic::sleep::Waiters;

use crate::{
    errno::{Errno, Result},
    sched::{
        self, spans,
        wait::{Deadline, Ended, wait_until},
    },
    task::{Task, current},
    user,
};

const BUCKETS: usize = 64;
/// How many are woken or moved with a table locked.
const BATCH: usize = 64;
/// In the word of a lock: its owner ended while it had it, somebody waits for it, the owner's number.
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;
const OWNER: u32 = 0x3fff_ffff;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Private(usize, usize),
    Shared(u32, usize),
}

impl Key {
    fn bucket(self) -> usize {
        let (a, b) = match self {
            Self::Private(space, address) => (space, address),
            Self::Shared(frame, offset) => (frame as usize, offset),
        };
        (((a >> 4) ^ (b >> 2)).wrapping_mul(0x9e37_79b9) >> 7) & (BUCKETS - 1)
    }
}

struct Waiter {
    task: Arc<Task>,
    key: SpinLock<Key>,
    mask: u32,
    woken: AtomicBool,
    /// Only to be moved to the waiters for this lock, or to be given it (FUTEX_WAIT_REQUEUE_PI).
    target: Option<Key>,
    /// That has happened: it is not in the table any more.
    moved: AtomicBool,
}

impl Waiter {
    fn new(key: Key, mask: u32, target: Option<Key>) -> Arc<Self> {
        Arc::new(Self {
            task: current().arc(),
            key: SpinLock::new(key),
            mask,
            woken: AtomicBool::new(false),
            target,
            moved: AtomicBool::new(false),
        })
    }
}

static TABLE: [SpinLock<VecDeque<Arc<Waiter>>>; BUCKETS] =
    [const { SpinLock::new(VecDeque::new()) }; BUCKETS];
static WAITING: Waiters = Waiters::new();

fn key_of(address: usize, private: bool) -> Result<Key> {
    if address % 4 != 0 {
        return Err(Errno::EINVAL);
    }
    if !private {
        // Touching the word makes its page exist.
        user::load_u32(address)?;
        if let Some((frame, true)) = current().memory().locate(address) {
            return Ok(Key::Shared(frame.number(), address % PAGE_SIZE));
        }
    }
    Ok(Key::Private(Arc::as_ptr(&current().process.memory.lock()) as usize, address))
}

fn remove(waiter: &Arc<Waiter>) {
    loop {
        let key = *waiter.key.lock();
        let mut bucket = TABLE[key.bucket()].lock();
        if *waiter.key.lock() != key {
            continue;
        }
        bucket.retain(|w| !Arc::ptr_eq(w, waiter));
        return;
    }
}

/// Waits until somebody wakes the word, if it still is `expected`.
pub fn wait(address: usize, private: bool, expected: u32, deadline: Option<Deadline>, mask: u32) -> Result {
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    let key = key_of(address, private)?;
    // One for each thread, paid from the reserve: C libraries do not know that waiting can fail.
    let waiter = Waiter::new(key, mask, None);
    {
        let mut bucket = TABLE[key.bucket()].lock();
        if bucket.len() == bucket.capacity() {
            bucket.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        }
        WAITING.enter();
        bucket.push_back(waiter.clone());
    }
    // Who changes the word after this load finds us in the table.
    let result = match user::load_u32(address) {
        Err(error) => Err(error.into()),
        Ok(value) if value != expected => Err(Errno::EAGAIN),
        Ok(_) => match wait_until(deadline, true, || waiter.woken.load(Ordering::Acquire).then_some(())) {
            Ok(()) => Ok(0),
            Err(Ended::TimedOut) => Err(Errno::ETIMEDOUT),
            Err(Ended::Interrupted) => Err(Errno::RESTART),
        },
    };
    // Who wakes somebody takes him out of the table.
    let is_woken = || waiter.woken.load(Ordering::Acquire);
    if !is_woken() {
        remove(&waiter);
    }
    WAITING.leave();
    // A wake-up that came together with a signal or the deadline must not be lost.
    if is_woken() { Ok(0) } else { result }
}

/// Whether nobody waits for any word. Who begins to wait after this sees what the caller changed before.
fn nobody_waits() -> bool {
    WAITING.are_none()
}

/// Wakes up to `count`, in parts. EINVAL if one of them waits for a lock with an owner: who wakes it has to be that.
fn wake_key(key: Key, count: usize, mask: u32) -> Result {
    if pi::has_waiters(key) {
        return Err(Errno::EINVAL);
    }
    let mut woken = 0;
    let mut most = count;
    while woken < most {
        let mut bucket = TABLE[key.bucket()].lock();
        if woken == 0 {
            // Who is woken may wait again at once, which is not to be followed for ever.
            most = count.min(bucket.len());
        }
        let now = wake_some(&mut bucket, key, (most - woken).min(BATCH), mask)?;
        drop(bucket);
        woken += now;
        if now < BATCH || spans::point() {
            break;
        }
    }
    Ok(woken)
}

fn wake_some(bucket: &mut VecDeque<Arc<Waiter>>, key: Key, count: usize, mask: u32) -> Result {
    if count == 1 {
        return wake_first(bucket, key, mask);
    }
    let (mut woken, mut is_other_kind) = (0, false);
    bucket.retain(|waiter| {
        if woken >= count || is_other_kind || waiter.mask & mask == 0 || *waiter.key.lock() != key {
            return true;
        }
        if waiter.target.is_some() {
            is_other_kind = true;
            return true;
        }
        woken += 1;
        waiter.woken.store(true, Ordering::Release);
        sched::wake(&waiter.task);
        false
    });
    if is_other_kind { Err(Errno::EINVAL) } else { Ok(woken) }
}

/// The usual case, in which the list need not be gone through to its end.
fn wake_first(bucket: &mut VecDeque<Arc<Waiter>>, key: Key, mask: u32) -> Result {
    let fits = |waiter: &Arc<Waiter>| waiter.mask & mask != 0 && *waiter.key.lock() == key;
    let Some(at) = bucket.iter().position(fits) else { return Ok(0) };
    if bucket.get(at).is_some_and(|waiter| waiter.target.is_some()) {
        return Err(Errno::EINVAL);
    }
    let waiter = if at == 0 { bucket.pop_front() } else { bucket.remove(at) };
    if let Some(waiter) = waiter {
        waiter.woken.store(true, Ordering::Release);
        sched::wake(&waiter.task);
    }
    Ok(1)
}

/// Wakes up to `count` that wait for the word with a common bit in `mask`.
pub fn wake(address: usize, private: bool, count: usize, mask: u32) -> Result {
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    // The word of a private one is not looked at, and so far not even whose it is.
    if private && address % 4 == 0 && nobody_waits() {
        return Ok(0);
    }
    wake_key(key_of(address, private)?, count, mask)
}

/// Wakes up to `count`, however they named the word.
pub fn wake_address(address: usize, count: usize) {
    if nobody_waits() {
        return;
    }
    for private in [true, false] {
        if let Ok(key) = key_of(address, private) {
            // Whatever else waits there is not concerned.
            let _ = wake_key(key, count, u32::MAX);
        }
    }
}

/// Wakes some that wait for the word and lets others wait for another word instead.
pub fn requeue(
    from: usize,
    to: usize,
    private: bool,
    wake_count: usize,
    move_count: usize,
    expected: Option<u32>,
) -> Result {
    let (from_key, to_key) = (key_of(from, private)?, key_of(to, private)?);
    if let Some(expected) = expected {
        if user::load_u32(from)? != expected {
            return Err(Errno::EAGAIN);
        }
    }
    let woken = wake_key(from_key, wake_count, u32::MAX)?;
    let count = move_waiters(from_key, to_key, move_count)?;
    Ok(woken + if expected.is_some() { count } else { 0 })
}

/// Moves waiters from one word to another. Both buckets stay locked, so that a waiter is in one of them at any time.
fn move_waiters(from: Key, to: Key, count: usize) -> Result {
    let (mut moved, mut is_other_kind) = (VecDeque::new(), false);
    let mut take = |bucket: &mut VecDeque<Arc<Waiter>>| {
        bucket.retain(|waiter| {
            let mut fits = moved.len() < count && !is_other_kind && *waiter.key.lock() == from;
            if fits && waiter.target.is_some() {
                (fits, is_other_kind) = (false, true);
            }
            if fits {
                *waiter.key.lock() = to;
                moved.push_back(waiter.clone());
            }
            !fits
        });
        moved.len()
    };
    let (source, target) = (from.bucket(), to.bucket());
    if source == target {
        let mut bucket = TABLE[source].lock();
        let count = take(&mut bucket);
        bucket.append(&mut moved);
        return if is_other_kind { Err(Errno::EINVAL) } else { Ok(count) };
    }
    // Always the lower one first.
    let mut low = TABLE[source.min(target)].lock();
    let mut high = TABLE[source.max(target)].lock();
    let (source, target) = if source < target { (&mut *low, &mut *high) } else { (&mut *high, &mut *low) };
    let count = take(source);
    target.append(&mut moved);
    if is_other_kind { Err(Errno::EINVAL) } else { Ok(count) }
}

/// FUTEX_WAKE_OP: changes the second word atomically, wakes on the first, and on the second if its old value compares.
pub fn wake_op(
    first: usize,
    second: usize,
    private: bool,
    count: usize,
    second_count: usize,
    op: u32,
) -> Result {
    let sign_extend = |v: u32| ((v << 20) as i32) >> 20;
    let (operation, compare) = ((op >> 28) & 7, (op >> 24) & 15);
    let mut argument = sign_extend((op >> 12) & 0xfff) as u32;
    if op >> 31 != 0 {
        argument = 1u32.checked_shl(argument & 31).unwrap_or(0);
    }
    let (first_key, second_key) = (key_of(first, private)?, key_of(second, private)?);
    let mut old = user::load_u32(second)?;
    loop {
        let new = match operation {
            0 => argument,
            1 => old.wrapping_add(argument),
            2 => old | argument,
            3 => old & !argument,
            4 => old ^ argument,
            _ => return Err(Errno::ENOSYS),
        };
        match user::compare_exchange_u32(second, old, new)? {
            seen if seen == old => break,
            seen => old = seen,
        }
    }
    let (value, limit) = (old as i32, sign_extend(op & 0xfff));
    let holds = match compare {
        0 => value == limit,
        1 => value != limit,
        2 => value < limit,
        3 => value <= limit,
        4 => value > limit,
        5 => value >= limit,
        _ => return Err(Errno::ENOSYS),
    };
    let woken = wake_key(first_key, count, u32::MAX)?;
    Ok(woken + if holds { wake_key(second_key, second_count, u32::MAX)? } else { 0 })
}
