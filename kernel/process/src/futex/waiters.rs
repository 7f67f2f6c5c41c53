// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who waits for which word. However many wait, a lock is held for some of them only.

use core::{
    ops::RangeInclusive,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};

use arrayvec::ArrayVec;
use exo_hal::sync::SpinLock;

use crate::{
    errno::{Errno, Result},
    sched::{self, spans},
    task::{Task, current},
    user,
};

const BUCKETS: usize = 64;
/// How many are looked at with a bucket locked: waking one is some hundred instructions.
const AT_ONCE: usize = 32;

/// A word's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// The address space and the address in it.
    Private(usize, usize),
    /// What is shared, and where in it. Not the frame: that may be another when the page was taken back meanwhile.
    Shared(usize, u64),
}

impl Key {
    /// The name of the word at `address` of the running program.
    pub(super) fn of(address: usize, private: bool) -> Result<Self> {
        if address % 4 != 0 {
            return Err(Errno::EINVAL);
        }
        if !private {
            // Touching the word makes its page exist.
            user::load_u32(address)?;
            if let Some((object, byte)) = current().memory().shared_name(address) {
                return Ok(Self::Shared(object, byte));
            }
        }
        Ok(Self::Private(Arc::as_ptr(&current().process.memory.lock()) as usize, address))
    }

    fn bucket(self) -> usize {
        let (a, b) = match self {
            Self::Private(space, address) => (space, address),
            Self::Shared(object, byte) => (object, byte as usize),
        };
        (((a >> 4) ^ (b >> 2)).wrapping_mul(0x9e37_79b9) >> 7) & (BUCKETS - 1)
    }
}

/// A word and a number that rises with each who enters: where a waiter is.
type QueueKey = (Key, u64);

/// How many are kept in a list, which costs least: the usual case.
const FEW: usize = 16;

/// The waiters for some words.
struct Bucket {
    /// In the order of their numbers, which are below those of `many`.
    few: VecDeque<(QueueKey, Arc<Waiter>)>,
    many: BTreeMap<QueueKey, Arc<Waiter>>,
}

/// Of two that are locked at a time, the one with the lower index is first.
static TABLE: [SpinLock<Bucket>; BUCKETS] = [const { SpinLock::nested(Bucket::new()) }; BUCKETS];

/// The number of the last who has entered.
static LAST: AtomicU64 = AtomicU64::new(0);

fn next_number() -> u64 {
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// A task that waits for a word.
pub(super) struct Waiter {
    pub(super) task: Arc<Task>,
    /// Changed with the buckets of both words locked.
    queue_key: SpinLock<QueueKey>,
    mask: u32,
    woken: AtomicBool,
    /// Only to be moved to the waiters for this lock, or to be given it (FUTEX_WAIT_REQUEUE_PI).
    pub(super) target: Option<Key>,
    /// That has happened: it is not in the table any more.
    pub(super) moved: AtomicBool,
}

impl Waiter {
    /// The running task, as it waits for a word. It is not in the table yet.
    pub(super) fn new(key: Key, mask: u32, target: Option<Key>) -> Arc<Self> {
        Arc::new(Self {
            task: current().arc(),
            queue_key: SpinLock::new((key, 0)),
            mask,
            woken: AtomicBool::new(false),
            target,
            moved: AtomicBool::new(false),
        })
    }

    /// Enters the table with the key that it was made with, behind all that wait for the same word.
    pub(super) fn enter(self: &Arc<Self>, key: Key) {
        let mut bucket = TABLE[key.bucket()].lock();
        // With it locked, so that its waiters are in the order of their numbers.
        let queue_key = (key, next_number());
        *self.queue_key.lock() = queue_key;
        bucket.enter(queue_key, self.clone());
    }

    /// The word.
    pub(super) fn key(&self) -> Key {
        self.queue_key.lock().0
    }

    /// Whether somebody has woken it, and taken it out of the table.
    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Leaves the table, if it is there.
    pub(super) fn leave(&self) {
        loop {
            let queue_key = *self.queue_key.lock();
            let mut bucket = TABLE[queue_key.0.bucket()].lock();
            if *self.queue_key.lock() == queue_key {
                bucket.remove(&queue_key);
                return;
            }
        }
    }
}

impl Bucket {
    const fn new() -> Self {
        Self { few: VecDeque::new(), many: BTreeMap::new() }
    }

    fn enter(&mut self, queue_key: QueueKey, waiter: Arc<Waiter>) {
        if self.few.len() < FEW && self.many.is_empty() {
            self.few.push_back((queue_key, waiter));
        } else {
            self.many.insert(queue_key, waiter);
        }
    }

    fn remove(&mut self, queue_key: &QueueKey) -> Option<Arc<Waiter>> {
        match self.few.iter().position(|(other, _)| other == queue_key) {
            Some(0) => self.few.pop_front().map(|(_, waiter)| waiter),
            Some(at) => self.few.remove(at).map(|(_, waiter)| waiter),
            None => self.many.remove(queue_key),
        }
    }

    /// Those that wait for the word, and have a number in `numbers`.
    fn of(&self, key: Key, numbers: RangeInclusive<u64>) -> impl Iterator<Item = (u64, &Arc<Waiter>)> {
        let (first, last) = numbers.into_inner();
        let is_meant = move |(queue_key, _): &&(QueueKey, Arc<Waiter>)| {
            queue_key.0 == key && first <= queue_key.1 && queue_key.1 <= last
        };
        let few = self.few.iter().filter(is_meant).map(|(queue_key, waiter)| (queue_key.1, waiter));
        let many =
            (!self.many.is_empty() && first <= last).then(|| self.many.range((key, first)..=(key, last)));
        few.chain(many.into_iter().flatten().map(|(queue_key, waiter)| (queue_key.1, waiter)))
    }

    /// Takes out up to `count` of those with a number in `numbers` that [`wake`] wakes, as far as there is room for them: and where to go on,
    /// if there may be more.
    fn take(
        &mut self,
        key: Key,
        numbers: RangeInclusive<u64>,
        mask: u32,
        count: usize,
        taken: &mut ArrayVec<Arc<Waiter>, AT_ONCE>,
    ) -> Result<Option<u64>> {
        let (mut from, last) = numbers.into_inner();
        for _ in 0..AT_ONCE {
            let Some((number, waiter)) = self.of(key, from..=last).next() else { return Ok(None) };
            from = number + 1;
            if waiter.mask & mask == 0 {
                continue;
            }
            if waiter.target.is_some() {
                return Err(Errno::EINVAL);
            }
            taken.extend(self.remove(&(key, number)));
            if taken.len() == count {
                return Ok(None);
            }
        }
        Ok(Some(from))
    }

    /// The usual case of [`take`](Self::take), one of few: `None` if it is none.
    fn take_one_of_few(&mut self, key: Key, mask: u32) -> Option<Result<Option<Arc<Waiter>>>> {
        let fits =
            |(queue_key, waiter): &(QueueKey, Arc<Waiter>)| queue_key.0 == key && waiter.mask & mask != 0;
        let Some(at) = self.few.iter().position(fits) else {
            return self.many.is_empty().then_some(Ok(None));
        };
        if self.few.get(at).is_some_and(|(_, waiter)| waiter.target.is_some()) {
            return Some(Err(Errno::EINVAL));
        }
        let taken = if at == 0 { self.few.pop_front() } else { self.few.remove(at) };
        Some(Ok(taken.map(|(_, waiter)| waiter)))
    }
}

/// Whether anybody waits for the word.
pub(super) fn exist(key: Key) -> bool {
    TABLE[key.bucket()].lock().of(key, 0..=u64::MAX).next().is_some()
}

/// The first `count` that wait for the word.
pub(super) fn first(key: Key, count: usize) -> Vec<Arc<Waiter>> {
    let bucket = TABLE[key.bucket()].lock();
    bucket.of(key, 0..=u64::MAX).take(count).map(|(_, waiter)| waiter.clone()).collect()
}

/// The number of the last who has entered, for who has just locked a bucket: whoever entered that before has one that is not above it. Who is
/// woken may wait again at once, with a greater one, which is not to be followed for ever.
fn last_number() -> u64 {
    LAST.load(Ordering::Relaxed)
}

/// Calls `some` with the number to begin at and how many may be taken, until it says that there are no more, or `count` were. `some` gives
/// how many it took, and where the next begins.
fn in_parts(count: usize, mut some: impl FnMut(u64, usize) -> Result<(usize, Option<u64>)>) -> Result {
    let (mut done, mut from) = (0, 0);
    while done < count {
        let (now, next) = some(from, count - done)?;
        done += now;
        match next {
            Some(next) if !spans::point() => from = next,
            _ => break,
        }
    }
    Ok(done)
}

/// Wakes up to `count` with a common bit in `mask`. EINVAL if one of them waits to be moved: who wakes it has to know that.
pub(super) fn wake(key: Key, count: usize, mask: u32) -> Result {
    if count == 1 {
        let mut bucket = TABLE[key.bucket()].lock();
        if let Some(taken) = bucket.take_one_of_few(key, mask) {
            let Some(waiter) = taken? else { return Ok(0) };
            waiter.woken.store(true, Ordering::Release);
            sched::wake(&waiter.task);
            return Ok(1);
        }
    }
    wake_many(key, count, mask)
}

fn wake_many(key: Key, count: usize, mask: u32) -> Result {
    let mut last = None;
    in_parts(count, |from, count| {
        let mut taken = ArrayVec::new();
        let next = {
            let mut bucket = TABLE[key.bucket()].lock();
            let next =
                bucket.take(key, from..=*last.get_or_insert_with(last_number), mask, count, &mut taken);
            // Who waits for several words finds all of them.
            taken.iter().for_each(|waiter| waiter.woken.store(true, Ordering::Release));
            next
        };
        for waiter in &taken {
            sched::wake(&waiter.task);
            // Those that were taken are all woken, also when the task is to end.
            let _ = spans::point();
        }
        next.map(|next| (taken.len(), next))
    })
}

/// Lets up to `count` that wait for one word wait for another instead. EINVAL as for [`wake`].
pub(super) fn requeue(from: Key, to: Key, count: usize) -> Result {
    let mut last = None;
    in_parts(count, |first, count| {
        let (source, target) = (from.bucket(), to.bucket());
        // The lower one first. A waiter is in one of them at any time.
        let mut low = TABLE[source.min(target)].lock();
        let mut high = (source != target).then(|| TABLE[source.max(target)].lock());
        let last = *last.get_or_insert_with(last_number);
        for moved in 0..count.min(AT_ONCE) {
            let (source, target) = match &mut high {
                None => (&mut *low, None),
                Some(high) if source < target => (&mut *low, Some(&mut **high)),
                Some(high) => (&mut **high, Some(&mut *low)),
            };
            let Some((number, waiter)) = source.of(from, first..=last).next() else {
                return Ok((moved, None));
            };
            if waiter.target.is_some() {
                return Err(Errno::EINVAL);
            }
            if let Some(waiter) = source.remove(&(from, number)) {
                let queue_key = (to, next_number());
                *waiter.queue_key.lock() = queue_key;
                target.unwrap_or(source).enter(queue_key, waiter);
            }
        }
        Ok((count.min(AT_ONCE), Some(first)))
    })
}
