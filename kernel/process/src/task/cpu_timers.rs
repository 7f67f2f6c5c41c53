// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers of CPU time: ITIMER_PROF and ITIMER_VIRTUAL.

/// One timer, by the process's time of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timer {
    /// The time at which it runs out; 0 if it is off.
    pub(super) deadline: u64,
    /// After how many nanoseconds it runs out again; 0 for once.
    pub(super) interval: u64,
}

/// Which time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// That in user mode (ITIMER_VIRTUAL, SIGVTALRM).
    User,
    /// All of it (ITIMER_PROF, SIGPROF).
    All,
}

/// A process's timers.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTimers {
    pub(super) user: Timer,
    pub(super) all: Timer,
}

impl CpuTimers {
    pub(super) fn of(&mut self, kind: Kind) -> &mut Timer {
        match kind {
            Kind::User => &mut self.user,
            Kind::All => &mut self.all,
        }
    }
}

impl Timer {
    /// Whether it has run out at `now`; then it is set anew.
    pub(super) fn expires(&mut self, now: u64) -> bool {
        if self.deadline == 0 || now < self.deadline {
            return false;
        }
        // Turns that were missed are not made up for.
        let missed = (now - self.deadline).checked_div(self.interval);
        self.deadline = missed.map_or(0, |turns| {
            self.deadline.saturating_add(turns.saturating_add(1).saturating_mul(self.interval))
        });
        true
    }
}
