// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of signals, and which signals are alike.

use super::number;

/// A set of signals; signal n is bit n - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// The set of one signal; empty for a number that is none.
    pub const fn of(signal: u32) -> Self {
        if signal == 0 || signal > number::LAST { Self(0) } else { Self(1 << (signal - 1)) }
    }

    /// Whether a signal is in the set.
    pub const fn has(self, signal: u32) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    /// With those of another set.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What cannot be blocked, caught or ignored.
pub const UNBLOCKABLE: SignalSet = SignalSet::of(number::SIGKILL).and(SignalSet::of(number::SIGSTOP));
/// What stops a process unless it does something else on it.
pub(super) const STOPPING: SignalSet = SignalSet::of(number::SIGSTOP)
    .and(SignalSet::of(number::SIGTSTP))
    .and(SignalSet::of(number::SIGTTIN))
    .and(SignalSet::of(number::SIGTTOU));
/// What a process ignores unless it does something on it.
pub(super) const IGNORED_BY_DEFAULT: SignalSet = SignalSet::of(number::SIGCHLD)
    .and(SignalSet::of(number::SIGCONT))
    .and(SignalSet::of(number::SIGURG))
    .and(SignalSet::of(number::SIGWINCH));
/// Faults come first: they belong to the instruction at hand.
pub(super) const SYNCHRONOUS: SignalSet = SignalSet::of(number::SIGSEGV)
    .and(SignalSet::of(number::SIGBUS))
    .and(SignalSet::of(number::SIGILL))
    .and(SignalSet::of(number::SIGTRAP))
    .and(SignalSet::of(number::SIGFPE))
    .and(SignalSet::of(number::SIGSYS));

/// Whether `signal` is a signal's number.
pub fn is_valid(signal: u32) -> bool {
    (1..=number::LAST).contains(&signal)
}
