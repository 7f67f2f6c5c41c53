// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much a guest may take: token buckets for bytes and for operations, changeable while the device runs.
//!
//! A bucket fills at its rate, up to its burst. What is taken may leave it in debt, so that a buffer larger than the
//! burst still gets through, and the mean rate is exact. A draw by register cannot wait, because the guest's processor
//! stands still meanwhile; it always gets through and only adds to the debt, which queues then pay.
//!
//! Whoever has to wait takes his tokens at once and gets a [`Place`] with the time from which he may go on. So those who
//! wait come in the order in which they asked, whatever they ask for, and small requests cannot drain what a large
//! one waits for. Tokens that turn out not to be needed are given back.

mod bucket;
mod rate;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use bucket::{Amount, Place};
use bucket::{Buckets, Grant, NANOSECONDS};
pub use rate::{Limits, NoRate, Rate, parse_bytes};

/// Least bytes of [`Limiter::portion`]: a buffer is cut no smaller.
pub const LEAST_PORTION: u64 = 64;

/// Most of [`Limiter::slack`]: a guest should not notice it.
const MAX_SLACK: Duration = Duration::from_millis(10);

/// The limits of one device. Without a limit, taking costs one relaxed load.
#[derive(Debug)]
pub struct Limiter {
    limited: AtomicBool,
    buckets: Mutex<Buckets>,
    start: Instant,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { limited: AtomicBool::new(false), buckets: Mutex::default(), start: Instant::now() }
    }
}

impl Limiter {
    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    /// Takes so much. An error: the caller has `place` now, and may go on, with at most what that has, after that time.
    pub fn take(&self, place: &mut Place, amount: Amount) -> Result<(), Duration> {
        if !self.is_limited() && place.0.is_none() {
            return Ok(());
        }
        self.buckets().take(place, amount, self.start.elapsed())
    }

    /// Keeps what was taken a moment ago, as it cannot be used yet: `place` has it now, and it is due at once.
    pub(crate) fn hold(&self, place: &mut Place, amount: Amount) {
        let changes = self.buckets().changes;
        place.0 = Some(Grant { amount, due: Duration::ZERO, changes });
    }

    /// Gives back what was taken for a place that nobody wants any more.
    pub fn leave(&self, place: &mut Place) {
        if let Some(grant) = place.0.take() {
            self.buckets().give_back(grant.amount, self.start.elapsed());
        }
    }

    /// Takes so much, in debt if need be.
    pub fn spend(&self, operations: u64, bytes: u64) {
        if self.is_limited() {
            self.buckets().spend(Amount { operations, bytes }, self.start.elapsed());
        }
    }

    /// Most that should be taken at once, so that those who wait get their turns soon: a burst's worth.
    pub fn portion(&self) -> Amount {
        let most = |rate: Option<Rate>| rate.map_or(u64::MAX, |rate| rate.burst);
        if !self.is_limited() {
            return Amount { operations: u64::MAX, bytes: u64::MAX };
        }
        let limits = self.limits();
        Amount { operations: most(limits.operations).max(1), bytes: most(limits.bytes).max(LEAST_PORTION) }
    }

    /// How much longer than it must somebody who waits may sleep, without a loss: the buckets keep what comes meanwhile. One
    /// who sleeps longer does more when he wakes, and wakes less often.
    pub fn slack(&self) -> Duration {
        let limits = self.limits();
        let rates = limits.bytes.into_iter().chain(limits.operations);
        let halves = rates.map(|rate| {
            let nanoseconds = i128::from(rate.burst).saturating_mul(NANOSECONDS / 2);
            let nanoseconds = nanoseconds.div_euclid(i128::from(rate.per_second.max(1)));
            Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
        });
        halves.chain([MAX_SLACK]).min().unwrap_or_default()
    }

    /// Gives so many bytes beyond the burst, once: they are there until they are taken, or the rate changes.
    pub fn give_once(&self, bytes: u64) {
        if let Some(bucket) = &mut self.buckets().bytes {
            let given = i128::from(bytes).saturating_mul(NANOSECONDS);
            bucket.level = bucket.level.saturating_add(given);
        }
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.buckets().limits()
    }

    /// Changes the limits. A bucket whose rate or burst changes keeps what is in it, as far as the new burst allows; one that
    /// is new begins full; what does not change is left alone, however often it is set.
    pub fn set(&self, limits: Limits) {
        self.buckets().set(limits, self.start.elapsed());
        self.limited.store(limits != Limits::default(), Ordering::Relaxed);
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn amount(operations: u64, bytes: u64) -> Amount {
        Amount { operations, bytes }
    }

    #[test]
    fn a_limiter_without_limits_never_waits() {
        let limiter = Limiter::default();
        let mut place = Place::default();
        assert_eq!(limiter.take(&mut place, amount(u64::MAX, u64::MAX)), Ok(()));
        limiter.set(Limits { bytes: Some(Rate { per_second: 1, burst: 1 }), operations: None });
        assert_eq!(limiter.take(&mut place, amount(1, 100)), Ok(()), "a full bucket");
        assert!(limiter.take(&mut place, amount(1, 100)).is_err());
        limiter.set(Limits::default());
        assert_eq!(limiter.take(&mut place, amount(u64::MAX, u64::MAX)), Ok(()));
        assert_eq!(place.taken(), None);
    }

    #[test]
    fn what_is_given_once_is_there_until_it_is_taken_and_never_again() {
        let limiter = Limiter::default();
        limiter.give_once(1000); // Without a limit it means nothing.
        let rate = Rate { per_second: 1, burst: 10 };
        limiter.set(Limits { bytes: Some(rate), operations: None });
        limiter.give_once(1000);
        std::thread::sleep(at(5));
        let taken = (0..2000).filter(|_| limiter.take(&mut Place::default(), amount(1, 1)).is_ok()).count();
        assert!((1010..=1015).contains(&taken), "{taken}");
    }

    #[test]
    fn the_slack_is_at_most_half_a_burst() {
        let limiter = Limiter::default();
        for (rate, slack) in [(Rate::new(1000), 10), (Rate { per_second: 1000, burst: 8 }, 4)] {
            limiter.set(Limits { bytes: Some(rate), operations: Some(Rate::new(1 << 20)) });
            assert_eq!(limiter.slack(), at(slack));
        }
    }
}
