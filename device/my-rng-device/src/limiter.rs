// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much a guest may take: token buckets for bytes and for operations, changeable while the device runs.
//!
//! A bucket fills at its rate, up to its burst. What is taken may leave it in debt, so that a buffer larger than the
//! burst still gets through, and the mean rate is exact. A draw by register cannot wait, because the guest's processor
//! stands still meanwhile; it always gets through and only adds to the debt, which queues then pay.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const NANOSECONDS: i128 = 1_000_000_000;

/// Most debt that draws by register can pile up, in nanoseconds' worth of the rate: what they took beyond that is
/// forgiven, so that a lowered limit never stops the queues for long.
const MAX_DEBT: i128 = 10 * NANOSECONDS;

/// A rate and a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Tokens per second; at least 1.
    pub per_second: u64,
    /// Most tokens that are saved up while nobody takes any; at least 1.
    pub burst: u64,
}

impl Rate {
    /// A rate with a burst of a tenth of a second's worth.
    pub fn new(per_second: u64) -> Self {
        Self { per_second, burst: (per_second / 10).max(1) }
    }
}

/// What is limited. `None`: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes, by queues, one-shot transfers and registers.
    pub bytes: Option<Rate>,
    /// Operations: buffers, one-shot transfers, draws by register.
    pub operations: Option<Rate>,
}

/// A token bucket that is told the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    rate: Rate,
    /// Billionths of a token; negative: debt.
    level: i128,
    /// When it was last filled.
    filled: Duration,
}

impl Bucket {
    /// A full bucket.
    fn new(rate: Rate, now: Duration) -> Self {
        Self { rate, level: i128::from(rate.burst).saturating_mul(NANOSECONDS), filled: now }
    }

    fn fill(&mut self, now: Duration) {
        let elapsed = i128::try_from(now.saturating_sub(self.filled).as_nanos()).unwrap_or(i128::MAX);
        let gained = elapsed.saturating_mul(self.rate.per_second.into());
        let full = i128::from(self.rate.burst).saturating_mul(NANOSECONDS);
        self.level = self.level.saturating_add(gained).min(full);
        self.filled = now;
    }

    /// How long until `amount` can be taken, zero if it can be now.
    fn wait(&self, amount: u64) -> Duration {
        let needed = i128::from(amount.min(self.rate.burst)).saturating_mul(NANOSECONDS);
        let missing = needed.saturating_sub(self.level).max(0);
        let nanoseconds = missing.div_euclid(self.rate.per_second.max(1).into()).saturating_add(1);
        match missing {
            0 => Duration::ZERO,
            _ => Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)),
        }
    }

    fn take(&mut self, amount: u64) {
        let floor = MAX_DEBT.saturating_mul(self.rate.per_second.into()).saturating_neg();
        let taken = i128::from(amount).saturating_mul(NANOSECONDS);
        // What a queue takes at once is bounded, and may go below the floor.
        self.level = self.level.saturating_sub(taken).max(floor.min(taken.saturating_neg()));
    }
}

#[derive(Debug, Default)]
struct Buckets {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
}

impl Buckets {
    fn each(&mut self, operations: u64, bytes: u64) -> impl Iterator<Item = (&mut Bucket, u64)> {
        let operations = self.operations.iter_mut().map(move |bucket| (bucket, operations));
        operations.chain(self.bytes.iter_mut().map(move |bucket| (bucket, bytes)))
    }

    /// Takes from all buckets or from none.
    fn take(&mut self, operations: u64, bytes: u64, now: Duration) -> Result<(), Duration> {
        let waits = self.each(operations, bytes).map(|(bucket, amount)| {
            bucket.fill(now);
            bucket.wait(amount)
        });
        match waits.max().unwrap_or_default() {
            Duration::ZERO => {
                self.each(operations, bytes).for_each(|(bucket, amount)| bucket.take(amount));
                Ok(())
            }
            wait => Err(wait),
        }
    }

    fn spend(&mut self, operations: u64, bytes: u64, now: Duration) {
        for (bucket, amount) in self.each(operations, bytes) {
            bucket.fill(now);
            bucket.take(amount);
        }
    }
}

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
    /// Takes so many operations and bytes. An error: nothing was taken, try again after that time.
    pub fn take(&self, operations: u64, bytes: u64) -> Result<(), Duration> {
        if !self.limited.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.buckets().take(operations, bytes, self.start.elapsed())
    }

    /// Takes so many operations and bytes, in debt if need be.
    pub fn spend(&self, operations: u64, bytes: u64) {
        if self.limited.load(Ordering::Relaxed) {
            self.buckets().spend(operations, bytes, self.start.elapsed());
        }
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        let buckets = self.buckets();
        Limits {
            bytes: buckets.bytes.map(|bucket| bucket.rate),
            operations: buckets.operations.map(|bucket| bucket.rate),
        }
    }

    /// Changes the limits; the buckets start full.
    pub fn set(&self, limits: Limits) {
        let now = self.start.elapsed();
        let mut buckets = self.buckets();
        buckets.bytes = limits.bytes.map(|rate| Bucket::new(rate, now));
        buckets.operations = limits.operations.map(|rate| Bucket::new(rate, now));
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

    fn buckets(bytes: Option<Rate>, operations: Option<Rate>) -> Buckets {
        let bucket = |rate| Bucket::new(rate, at(0));
        Buckets { bytes: bytes.map(bucket), operations: operations.map(bucket) }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_rules() {
        let mut buckets = buckets(Some(Rate { per_second: 1000, burst: 100 }), None);
        assert_eq!(buckets.take(1, 100, at(0)), Ok(()));
        let wait = buckets.take(1, 50, at(0)).unwrap_err();
        assert!((at(50)..=at(51)).contains(&wait), "{wait:?}");
        assert_eq!(buckets.take(1, 50, at(0) + wait), Ok(()));
    }

    #[test]
    fn the_mean_rate_is_exact_whatever_the_sizes() {
        for size in [1, 7, 100, 1000, 5000] {
            let mut buckets = buckets(Some(Rate { per_second: 10_000, burst: 500 }), None);
            let (mut now, mut taken) = (at(0), 0);
            while now < at(20_000) {
                match buckets.take(1, size, now) {
                    Ok(()) => taken += size,
                    Err(wait) => now += wait,
                }
            }
            assert!((200_000 - 5000..=200_500 + 5000).contains(&taken), "size {size}: {taken}");
        }
    }

    #[test]
    fn nothing_is_taken_from_one_bucket_when_the_other_is_empty() {
        let rate = Rate { per_second: 10, burst: 10 };
        let mut buckets = buckets(Some(rate), Some(rate));
        assert_eq!(buckets.take(10, 1, at(0)), Ok(()));
        assert!(buckets.take(1, 9, at(0)).is_err(), "no operations are left");
        assert_eq!(buckets.take(0, 9, at(0)), Ok(()), "the bytes are still there");
    }

    #[test]
    fn draws_pass_and_queues_pay_for_them() {
        let mut buckets = buckets(Some(Rate { per_second: 1000, burst: 100 }), None);
        (0..100).for_each(|_| buckets.spend(1, 8, at(0)));
        let wait = buckets.take(1, 1, at(0)).unwrap_err();
        assert!((at(701)..=at(702)).contains(&wait), "{wait:?}");
    }

    #[test]
    fn a_debt_has_a_floor() {
        let mut buckets = buckets(Some(Rate { per_second: 1, burst: 1 }), None);
        (0..1_000_000).for_each(|_| buckets.spend(1, 8, at(0)));
        assert!(buckets.take(1, 1, at(0)).unwrap_err() <= at(11_001));
    }

    #[test]
    fn extreme_numbers_neither_overflow_nor_stop_for_ever() {
        let mut buckets = buckets(
            Some(Rate { per_second: u64::MAX, burst: u64::MAX }),
            Some(Rate { per_second: 0, burst: 0 }),
        );
        assert_eq!(buckets.take(0, u64::MAX, at(0)), Ok(()));
        buckets.spend(u64::MAX, u64::MAX, at(0));
        let _ = buckets.take(u64::MAX, u64::MAX, Duration::MAX);
    }

    #[test]
    fn a_limiter_without_limits_never_waits() {
        let limiter = Limiter::default();
        assert_eq!(limiter.take(u64::MAX, u64::MAX), Ok(()));
        limiter.set(Limits { bytes: Some(Rate { per_second: 1, burst: 1 }), operations: None });
        assert_eq!(limiter.take(1, 100), Ok(()), "a full bucket");
        assert!(limiter.take(1, 100).is_err());
        limiter.set(Limits::default());
        assert_eq!(limiter.take(u64::MAX, u64::MAX), Ok(()));
    }
}
