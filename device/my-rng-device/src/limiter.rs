// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much a guest may take: token buckets for bytes and for operations, changeable while the device runs.
//!
//! A bucket fills at its rate, up to its burst. What is taken may leave it in debt, so that a buffer larger than the
//! burst still gets through, and the mean rate is exact. A draw by register cannot wait, because the guest's processor
//! stands still meanwhile; it always gets through and only adds to the debt, which queues then pay.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

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

/// Text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no limit, expected N or N:BURST, each from 1 to 2^64-1, with k, M, G, T or Ki, Mi, Gi, Ti after it"
)]
pub struct NoRate(String);

impl FromStr for Rate {
    type Err = NoRate;

    /// Reads `N` or `N:BURST`, such as `10M:256Ki`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once(':') {
            None => parse_number(text).map(Self::new),
            Some((rate, burst)) => parse_number(rate)
                .zip(parse_number(burst))
                .map(|(per_second, burst)| Self { per_second, burst }),
        };
        parsed.ok_or_else(|| NoRate(text.to_owned()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.per_second, self.burst)
    }
}

/// A number above 0 with a suffix, in powers of 1000 or, with `i`, of 1024.
fn parse_number(text: &str) -> Option<u64> {
    let (digits, binary) = text.strip_suffix('i').map_or((text, false), |text| (text, true));
    let base: u64 = if binary { 1024 } else { 1000 };
    let suffixes = [("k", 1), ("K", 1), ("M", 2), ("G", 3), ("T", 4)];
    let found = suffixes.iter().find_map(|(suffix, power)| Some((digits.strip_suffix(suffix)?, *power)));
    let (digits, power) = match found {
        Some(found) => found,
        None if binary => return None,
        None => (digits, 0),
    };
    // `parse` would take a sign.
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
    number.checked_mul(base.checked_pow(power)?).filter(|&number| number > 0)
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

impl fmt::Display for Limits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |rate: Option<Rate>| {
            rate.map_or_else(|| "unlimited".to_owned(), |rate| format!("{rate} per second"))
        };
        write!(formatter, "bytes {}, operations {}", one(self.bytes), one(self.operations))
    }
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
    fn limits_are_read_with_and_without_burst_and_suffix() {
        let known = [
            ("1", 1, 1),
            ("1000", 1000, 100),
            ("10M", 10_000_000, 1_000_000),
            ("64Ki:1", 65_536, 1),
            ("2k:3K", 2000, 3000),
            ("1G:1Gi", 1_000_000_000, 1 << 30),
            ("1Ti:18446744073709551615", 1 << 40, u64::MAX),
        ];
        for (text, per_second, burst) in known {
            let rate = text.parse::<Rate>().unwrap();
            assert_eq!(rate, Rate { per_second, burst }, "{text}");
            assert_eq!(rate.to_string().parse(), Ok(rate), "{text}");
        }
        for text in [
            "",
            "0",
            "1:0",
            "0:1",
            "1:",
            ":1",
            "1:1:1",
            "-1",
            "+1",
            "1.5",
            "1i",
            "1m",
            "k",
            "20000000T",
            "1 ",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(NoRate(text.to_owned())));
        }
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
