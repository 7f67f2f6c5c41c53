// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many lines a server may log about its clients: so many at once, then so many a second, whoever they are and however
//! often they connect. What is beyond that is counted, and said so in one line.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, log, log_enabled, warn};

use crate::counters::Counters;

/// Lines that can come at once.
const BURST: u32 = 20;
/// One more line after each such time.
const REFILL: Duration = Duration::from_secs(1);

/// The lines that are left.
#[derive(Debug)]
pub(crate) struct LogBudget {
    state: Mutex<State>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    left: u32,
    refilled: Instant,
    suppressed: u64,
}

impl LogBudget {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        let state = State { left: BURST, refilled: Instant::now(), suppressed: 0 };
        Self { state: Mutex::new(state), counters }
    }

    /// Logs a line about what `server` did or saw, if there is one left.
    pub(crate) fn log(&self, level: Level, server: &dyn fmt::Display, line: fmt::Arguments<'_>) {
        if !log_enabled!(level) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.take(Instant::now()) {
            self.counters.log_lines_suppressed.add_one();
            return;
        }
        let suppressed = std::mem::take(&mut state.suppressed);
        drop(state);
        if suppressed > 0 {
            warn!("{server}: {suppressed} lines about clients were left out");
        }
        log!(level, "{server}: {line}");
    }
}

impl State {
    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled);
        let gained = elapsed.as_nanos().checked_div(REFILL.as_nanos()).unwrap_or_default();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX).min(BURST);
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(BURST);
            self.refilled = now;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.suppressed = self.suppressed.saturating_add(u64::from(!allowed));
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_once_up_to_a_burst_and_then_one_a_second() {
        let start = Instant::now();
        let mut state = State { left: BURST, refilled: start, suppressed: 0 };
        let mut lines = |from: u32, count: u32| {
            let now = start + Duration::from_millis(from.into());
            (0..count).filter(|_| state.take(now)).count()
        };
        assert_eq!(lines(0, 1_000), BURST as usize);
        assert_eq!(lines(999, 1_000), 0);
        assert_eq!(lines(3_500, 1_000), 3);
        assert_eq!(lines(1_000_000, 1_000), BURST as usize);
        assert_eq!(state.suppressed, 4_000 - 20 - 3 - 20);
    }
}
