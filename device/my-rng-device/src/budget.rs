// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device may take: its own limits, and those that all devices of the program share.

use std::sync::Arc;
use std::time::Duration;

use crate::limiter::{Amount, Limiter, Limits, Place};

/// The limits of one device.
#[derive(Debug, Default)]
pub struct Budget {
    own: Limiter,
    /// That of all devices together.
    shared: Arc<Limiter>,
}

/// A place in the order of those who wait for the device's own limits, and one in that for the shared ones.
#[derive(Debug, Default)]
pub struct Places {
    own: Place,
    shared: Place,
}

impl Places {
    /// What was taken, and so the most that can be had at the end of the wait.
    pub fn taken(&self) -> Option<Amount> {
        [&self.own, &self.shared].into_iter().filter_map(Place::taken).reduce(least)
    }
}

impl Budget {
    /// A budget without limits of its own within a shared one.
    pub fn within(shared: Arc<Limiter>) -> Self {
        Self { own: Limiter::default(), shared }
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.own.is_limited() || self.shared.is_limited()
    }

    /// Takes so much from both. An error: the caller has its places, and may go on, with at most what those have, after that
    /// time.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&self, places: &mut Places, amount: Amount) -> Result<(), Duration> {
        let own = self.own.take(&mut places.own, amount);
        let shared = self.shared.take(&mut places.shared, amount);
        match (own, shared) {
            (Ok(()), Ok(())) => Ok(()),
            // What one of them gave is kept until the other one gives it too.
            (Ok(()), Err(wait)) => {
                self.own.hold(&mut places.own, amount);
                Err(wait)
            }
            (Err(wait), Ok(())) => {
                self.shared.hold(&mut places.shared, amount);
                Err(wait)
            }
            (Err(one), Err(other)) => Err(one.max(other)),
        }
    }

    /// Gives back what was taken for places that nobody wants any more.
    pub fn leave(&self, places: &mut Places) {
        self.own.leave(&mut places.own);
        self.shared.leave(&mut places.shared);
    }

    /// Takes so much, in debt if need be.
    pub fn spend(&self, operations: u64, bytes: u64) {
        self.own.spend(operations, bytes);
        self.shared.spend(operations, bytes);
    }

    /// Most that should be taken at once.
    pub fn portion(&self) -> Amount {
        least(self.own.portion(), self.shared.portion())
    }

    /// How much longer than it must somebody who waits may sleep, without a loss.
    pub fn slack(&self) -> Duration {
        self.own.slack().min(self.shared.slack())
    }

    /// Gives so many bytes beyond the burst of the device's own limit, once.
    pub fn give_once(&self, bytes: u64) {
        self.own.give_once(bytes);
    }

    /// The device's own limits.
    pub fn limits(&self) -> Limits {
        self.own.limits()
    }

    /// Changes the device's own limits.
    pub fn set(&self, limits: Limits) {
        self.own.set(limits);
    }
}

fn least(one: Amount, other: Amount) -> Amount {
    Amount { operations: one.operations.min(other.operations), bytes: one.bytes.min(other.bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::Rate;
    use std::time::Instant;

    fn bytes(per_second: u64, burst: u64) -> Limits {
        Limits { bytes: Some(Rate { per_second, burst }), operations: None }
    }

    const PIECE: Amount = Amount { operations: 1, bytes: 100 };

    #[test]
    fn devices_share_a_limit_in_order_and_keep_their_own() {
        let shared = Arc::<Limiter>::default();
        shared.set(bytes(20_000, 1000));
        let devices = [Budget::within(shared.clone()), Budget::within(shared.clone())];
        devices[1].set(bytes(2_000, 100));
        let mut places: [Places; 2] = Default::default();
        let mut taken = [0_u64; 2];
        let start = Instant::now();
        // Without what a burst cannot keep while this thread gets no processor.
        let (mut last, mut useful) = (start, Duration::ZERO);
        while start.elapsed() < Duration::from_millis(500) {
            useful += last.elapsed().min(Duration::from_millis(40));
            last = Instant::now();
            for (device, (places, taken)) in devices.iter().zip(places.iter_mut().zip(&mut taken)) {
                if device.take(places, PIECE).is_ok() {
                    *taken += PIECE.bytes;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let seconds = start.elapsed().as_secs_f64();
        let [most, own] = [1000.0 + 20_000.0 * seconds, 200.0 + 2_000.0 * seconds];
        let sum = (taken[0] + taken[1]) as f64;
        assert!(sum <= most && taken[1] as f64 <= own, "{taken:?} in {seconds} s");
        let useful = useful.as_secs_f64();
        assert!(
            sum >= 20_000.0 * useful * 0.8 && taken[1] as f64 >= 2_000.0 * useful * 0.7,
            "{taken:?} in {useful} s"
        );
    }

    #[test]
    fn what_one_gave_is_given_back_when_the_other_is_not_waited_for() {
        let shared = Arc::<Limiter>::default();
        shared.set(bytes(1, 100));
        let device = Budget::within(shared.clone());
        device.set(bytes(1, 200));
        let mut places = Places::default();
        assert_eq!(device.take(&mut places, PIECE), Ok(()));
        assert!(device.take(&mut places, PIECE).is_err(), "the shared one is empty");
        assert_eq!(places.taken(), Some(PIECE));
        device.leave(&mut places);
        shared.set(Limits::default());
        assert_eq!(device.take(&mut places, PIECE), Ok(()), "the own one has it back");
        assert!(device.take(&mut places, PIECE).is_err());
    }
}
