// SPDX-License-Identifier: MIT OR Apache-2.0
//! Token buckets that are told the time, and the places of those who wait for them.

use std::time::Duration;

use super::rate::{Limits, Rate};

/// Parts of a token that a level counts: one for each nanosecond and token a second.
pub(super) const NANOSECONDS: i128 = 1_000_000_000;

/// Most debt that draws by register can pile up, in nanoseconds' worth of the rate: what they took beyond that is
/// forgiven, so that a lowered limit never stops the queues for long.
const MAX_DEBT: i128 = 10 * NANOSECONDS;

/// Operations and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Operations.
    pub operations: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    /// Whether `self` is at most `other`, in both.
    fn is_within(self, other: Self) -> bool {
        self.operations <= other.operations && self.bytes <= other.bytes
    }

    fn minus(self, other: Self) -> Self {
        Self {
            operations: self.operations.saturating_sub(other.operations),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// A place in the order of those who wait, with what was taken for it. To be given back with [`Limiter::leave`](super::Limiter::leave) by who
/// does not want it any more.
#[derive(Debug, Default)]
pub struct Place(pub(super) Option<Grant>);

impl Place {
    /// What was taken, and so the most that can be had at the end of the wait.
    pub fn taken(&self) -> Option<Amount> {
        self.0.as_ref().map(|grant| grant.amount)
    }
}

/// Tokens that were taken, and from when on they may be used.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) amount: Amount,
    pub(super) due: Duration,
    /// [`Buckets::changes`] at that time.
    pub(super) changes: u64,
}

/// A token bucket that is told the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    rate: Rate,
    /// Billionths of a token; negative: debt.
    pub(super) level: i128,
    /// When it was last filled.
    filled: Duration,
}

impl Bucket {
    /// A full bucket.
    fn new(rate: Rate, now: Duration) -> Self {
        Self { rate, level: i128::from(rate.burst).saturating_mul(NANOSECONDS), filled: now }
    }

    /// The bucket with another rate. What is in it stays, up to the new burst.
    fn with_rate(mut self, rate: Rate, now: Duration) -> Self {
        self.fill(now);
        self.rate = rate;
        let full = i128::from(rate.burst).saturating_mul(NANOSECONDS);
        self.level = self.level.min(full);
        self
    }

    fn fill(&mut self, now: Duration) {
        let elapsed = i128::try_from(now.saturating_sub(self.filled).as_nanos()).unwrap_or(i128::MAX);
        self.add(elapsed.saturating_mul(self.rate.per_second.into()));
        self.filled = now;
    }

    /// Adds so many billionths of a token.
    fn add(&mut self, gained: i128) {
        let full = i128::from(self.rate.burst).saturating_mul(NANOSECONDS);
        // What was given once stays on top until it is used.
        if self.level < full {
            self.level = self.level.saturating_add(gained).min(full);
        }
    }

    /// How long until `amount` can be taken, zero if it can be now.
    fn wait(&self, amount: u64) -> Duration {
        let needed = i128::from(amount.min(self.rate.burst)).saturating_mul(NANOSECONDS);
        let missing = needed.saturating_sub(self.level);
        // First, as the division of 128 bits costs more than all else here.
        if missing <= 0 {
            return Duration::ZERO;
        }
        let nanoseconds = missing.div_euclid(self.rate.per_second.max(1).into()).saturating_add(1);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    fn take(&mut self, amount: u64) {
        self.level = self.level.saturating_sub(i128::from(amount).saturating_mul(NANOSECONDS));
    }

    /// Takes for somebody who cannot wait, down to the floor. What is below that already stays where it is.
    fn spend(&mut self, amount: u64) {
        let floor = MAX_DEBT.saturating_mul(self.rate.per_second.into()).saturating_neg();
        let spent = self.level.saturating_sub(i128::from(amount).saturating_mul(NANOSECONDS));
        self.level = spent.max(floor).min(self.level);
    }
}

#[derive(Debug, Default)]
pub(super) struct Buckets {
    pub(super) bytes: Option<Bucket>,
    operations: Option<Bucket>,
    /// How often the limits have changed: a [`Grant`] is for those of its time.
    pub(super) changes: u64,
}

impl Buckets {
    fn each(&mut self, amount: Amount) -> impl Iterator<Item = (&mut Bucket, u64)> {
        let operations = self.operations.iter_mut().map(move |bucket| (bucket, amount.operations));
        operations.chain(self.bytes.iter_mut().map(move |bucket| (bucket, amount.bytes)))
    }

    /// Takes from all buckets, now or, with a place, when its time has come.
    pub(super) fn take(&mut self, place: &mut Place, amount: Amount, now: Duration) -> Result<(), Duration> {
        if let Some(grant) = place.0.take() {
            let fits = grant.changes == self.changes && amount.is_within(grant.amount);
            if fits && now < grant.due {
                let wait = grant.due.saturating_sub(now);
                place.0 = Some(grant);
                return Err(wait);
            }
            self.give_back(if fits { grant.amount.minus(amount) } else { grant.amount }, now);
            if fits {
                return Ok(());
            }
        }
        let waits = self.each(amount).map(|(bucket, amount)| {
            bucket.fill(now);
            bucket.wait(amount)
        });
        let wait = waits.max().unwrap_or_default();
        self.each(amount).for_each(|(bucket, amount)| bucket.take(amount));
        if wait.is_zero() {
            return Ok(());
        }
        place.0 = Some(Grant { amount, due: now.saturating_add(wait), changes: self.changes });
        Err(wait)
    }

    pub(super) fn give_back(&mut self, amount: Amount, now: Duration) {
        for (bucket, amount) in self.each(amount) {
            bucket.fill(now);
            bucket.add(i128::from(amount).saturating_mul(NANOSECONDS));
        }
    }

    pub(super) fn spend(&mut self, amount: Amount, now: Duration) {
        for (bucket, amount) in self.each(amount) {
            bucket.fill(now);
            bucket.spend(amount);
        }
    }

    pub(super) fn set(&mut self, limits: Limits, now: Duration) {
        let change = |bucket: &mut Option<Bucket>, rate: Option<Rate>| {
            let changed = bucket.map(|bucket| bucket.rate) != rate;
            if changed {
                *bucket = rate.map(|rate| match *bucket {
                    Some(bucket) => bucket.with_rate(rate, now),
                    None => Bucket::new(rate, now),
                });
            }
            changed
        };
        let changed =
            [change(&mut self.bytes, limits.bytes), change(&mut self.operations, limits.operations)];
        self.changes = self.changes.wrapping_add(u64::from(changed.contains(&true)));
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            bytes: self.bytes.map(|bucket| bucket.rate),
            operations: self.operations.map(|bucket| bucket.rate),
        }
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
        Buckets { bytes: bytes.map(bucket), operations: operations.map(bucket), changes: 0 }
    }

    fn bytes(per_second: u64, burst: u64) -> Buckets {
        buckets(Some(Rate { per_second, burst }), None)
    }

    fn amount(operations: u64, bytes: u64) -> Amount {
        Amount { operations, bytes }
    }

    impl Buckets {
        /// Takes for somebody who will not come back.
        fn take_once(&mut self, operations: u64, bytes: u64, now: Duration) -> Result<(), Duration> {
            let mut place = Place::default();
            let outcome = self.take(&mut place, amount(operations, bytes), now);
            if let Some(grant) = place.0 {
                self.give_back(grant.amount, now);
            }
            outcome
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_rules() {
        let mut buckets = bytes(1000, 100);
        assert_eq!(buckets.take_once(1, 100, at(0)), Ok(()));
        let wait = buckets.take_once(1, 50, at(0)).unwrap_err();
        assert!((at(50)..=at(51)).contains(&wait), "{wait:?}");
        assert_eq!(buckets.take_once(1, 50, at(0) + wait), Ok(()));
    }

    #[test]
    fn the_mean_rate_is_exact_whatever_the_sizes() {
        for size in [1, 7, 100, 1000, 5000] {
            let mut buckets = bytes(10_000, 500);
            let (mut now, mut taken, mut place) = (at(0), 0, Place::default());
            while now < at(20_000) {
                match buckets.take(&mut place, amount(1, size), now) {
                    Ok(()) => taken += size,
                    Err(wait) => now += wait,
                }
            }
            assert!((200_000 - 5000..=200_500 + 5000).contains(&taken), "size {size}: {taken}");
        }
    }

    /// Everybody who waits, large and small, in one order.
    #[test]
    fn those_who_wait_come_in_the_order_in_which_they_asked() {
        let sizes = [16, 65_536, 16, 4096, 1, 65_536];
        let mut buckets = bytes(10_000, 1000);
        let mut places: [Place; 6] = Default::default();
        let mut taken = [0_u64; 6];
        let (mut now, mut order) = (at(0), Vec::new());
        assert_eq!(buckets.take_once(1, 100_000, now), Ok(()), "all that there is");
        while now < at(1_000_000) {
            let mut least = Duration::MAX;
            for (who, place) in places.iter_mut().enumerate() {
                match buckets.take(place, amount(1, sizes[who]), now) {
                    Ok(()) => {
                        taken[who] += sizes[who];
                        order.push(who);
                        least = Duration::ZERO;
                    }
                    Err(wait) => least = least.min(wait),
                }
            }
            now += least;
        }
        let whole = order.len() / 6 * 6;
        assert!(whole >= 6 * 60, "{whole}");
        assert!(order[..whole].chunks(6).all(|round| round == [0, 1, 2, 3, 4, 5]), "{order:?}");
        let sum: u64 = taken.iter().sum();
        assert!((9_700_000..=10_000_000).contains(&sum), "{sum}");
    }

    #[test]
    fn what_a_place_does_not_need_is_given_back() {
        let mut buckets = bytes(1000, 100);
        let mut place = Place::default();
        assert_eq!(buckets.take_once(1, 100, at(0)), Ok(()));
        let wait = buckets.take(&mut place, amount(1, 100), at(0)).unwrap_err();
        assert_eq!(place.taken(), Some(amount(1, 100)));
        assert!(buckets.take(&mut place, amount(1, 100), at(1)).unwrap_err() < wait, "the same place");
        assert_eq!(buckets.take(&mut place, amount(1, 30), at(0) + wait), Ok(()));
        assert_eq!(buckets.take_once(1, 70, at(0) + wait), Ok(()));
        assert!(buckets.take_once(1, 1, at(0) + wait).is_err());
    }

    #[test]
    fn who_wants_more_than_he_asked_for_asks_anew() {
        let mut buckets = bytes(1000, 100);
        let mut place = Place::default();
        assert_eq!(buckets.take_once(1, 100, at(0)), Ok(()));
        buckets.take(&mut place, amount(1, 10), at(0)).unwrap_err();
        let wait = buckets.take(&mut place, amount(1, 100), at(50)).unwrap_err();
        assert!((at(50)..=at(51)).contains(&wait), "{wait:?}");
    }

    #[test]
    fn nothing_is_taken_from_one_bucket_when_the_other_is_empty() {
        let rate = Rate { per_second: 10, burst: 10 };
        let mut buckets = buckets(Some(rate), Some(rate));
        assert_eq!(buckets.take_once(10, 1, at(0)), Ok(()));
        assert!(buckets.take_once(1, 9, at(0)).is_err(), "no operations are left");
        assert_eq!(buckets.take_once(0, 9, at(0)), Ok(()), "the bytes are still there");
    }

    #[test]
    fn draws_pass_and_queues_pay_for_them() {
        let mut buckets = bytes(1000, 100);
        (0..100).for_each(|_| buckets.spend(amount(1, 8), at(0)));
        let wait = buckets.take_once(1, 1, at(0)).unwrap_err();
        assert!((at(701)..=at(702)).contains(&wait), "{wait:?}");
    }

    #[test]
    fn a_debt_has_a_floor() {
        let mut buckets = bytes(1, 1);
        (0..1_000_000).for_each(|_| buckets.spend(amount(1, 8), at(0)));
        assert!(buckets.take_once(1, 1, at(0)).unwrap_err() <= at(11_001));
    }

    /// A queue's debt can be deeper than that of draws, which must not lift it to their floor.
    #[test]
    fn a_draw_forgives_no_debt() {
        let mut buckets = bytes(1, 1);
        assert_eq!(buckets.take_once(1, 1_000_000, at(0)), Ok(()));
        let before = buckets.take_once(1, 1, at(0)).unwrap_err();
        buckets.spend(amount(1, 4), at(0));
        assert_eq!(buckets.take_once(1, 1, at(0)).unwrap_err(), before);
    }

    #[test]
    fn setting_what_is_set_changes_nothing_and_a_change_fills_no_bucket() {
        let rate = |per_second, burst| Some(Rate { per_second, burst });
        let limits = |bytes| Limits { bytes, operations: None };
        let mut buckets = bytes(100, 10);
        let mut taken = 0;
        for millisecond in 0..10_000 {
            let now = at(millisecond);
            if millisecond % 50 == 0 {
                buckets.set(limits(rate(100, 10)), now);
            }
            taken += u64::from(buckets.take_once(1, 1, now).is_ok());
        }
        assert!((995..=1010).contains(&taken), "{taken}");
        for round in 0..1000 {
            buckets.set(limits(rate(100 + round % 2, 10)), at(10_000));
            taken += u64::from(buckets.take_once(1, 1, at(10_000)).is_ok());
        }
        assert!(taken <= 1012, "{taken}");
        buckets.set(limits(rate(100, 3)), at(100_000));
        assert_eq!((0..10).filter(|_| buckets.take_once(1, 1, at(100_000)).is_ok()).count(), 3);
    }

    #[test]
    fn a_place_of_other_limits_is_void_and_its_tokens_come_back() {
        let mut buckets = bytes(1, 1);
        let mut place = Place::default();
        assert_eq!(buckets.take_once(1, 1000, at(0)), Ok(()));
        assert!(buckets.take(&mut place, amount(1, 1000), at(0)).unwrap_err() > at(900_000));
        buckets.set(Limits { bytes: Some(Rate { per_second: 1000, burst: 100 }), operations: None }, at(0));
        let wait = buckets.take(&mut place, amount(1, 1000), at(0)).unwrap_err();
        assert!((at(1099)..=at(1101)).contains(&wait), "{wait:?}");
    }

    #[test]
    fn extreme_numbers_neither_overflow_nor_stop_for_ever() {
        let mut buckets = buckets(
            Some(Rate { per_second: u64::MAX, burst: u64::MAX }),
            Some(Rate { per_second: 0, burst: 0 }),
        );
        assert_eq!(buckets.take_once(0, u64::MAX, at(0)), Ok(()));
        buckets.spend(amount(u64::MAX, u64::MAX), at(0));
        let _ = buckets.take_once(u64::MAX, u64::MAX, Duration::MAX);
    }
}
