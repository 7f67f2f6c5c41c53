// SPDX-License-Identifier: MIT OR Apache-2.0
//! What CPU time brings about: ITIMER_PROF, ITIMER_VIRTUAL, timers of timer_create and the limit RLIMIT_CPU. They are looked at at each
//! tick in which the process runs, so they come up to a tick late, never early.

use exo_core::limits::{INFINITY, index};

use super::{
    Process,
    cpu_timers::{Kind, Timer},
};
use crate::signal::{Info, number};

const SECOND_NS: u64 = 1_000_000_000;

impl Process {
    fn time_of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::User => self.user_ns(),
            Kind::All => self.cpu_ns(),
        }
    }

    /// The remaining time and the interval of a timer.
    pub fn cpu_timer(&self, kind: Kind) -> (u64, u64) {
        let now = self.time_of(kind);
        let timer = *self.cpu_timers.lock().of(kind);
        // One that is due is not off: 0 would say that.
        let left = timer.deadline.saturating_sub(now).max(1);
        if timer.deadline == 0 { (0, timer.interval) } else { (left, timer.interval) }
    }

    /// Sets a timer; the old one's remaining time and interval.
    pub fn set_cpu_timer(&self, kind: Kind, delay: u64, interval: u64) -> (u64, u64) {
        let old = self.cpu_timer(kind);
        let deadline = if delay == 0 { 0 } else { self.time_of(kind).saturating_add(delay) };
        *self.cpu_timers.lock().of(kind) = Timer { deadline, interval };
        old
    }

    /// A tick has come while one of the threads ran.
    pub fn check_cpu_time(&self) {
        let timers = *self.cpu_timers.lock();
        for (kind, timer, signal) in
            [(Kind::User, timers.user, number::SIGVTALRM), (Kind::All, timers.all, number::SIGPROF)]
        {
            if timer.deadline == 0 {
                continue;
            }
            let now = self.time_of(kind);
            if self.cpu_timers.lock().of(kind).expires(now) {
                self.signal(Info::kernel(signal));
            }
        }
        self.posix_timers.check_cpu_time(|| self.cpu_ns());
        self.check_limit();
    }

    /// SIGXCPU each second above the soft limit, and SIGKILL above the hard one.
    fn check_limit(&self) {
        let limit = self.limits.lock()[index::CPU];
        if limit.soft == INFINITY && limit.hard == INFINITY {
            return;
        }
        let used = self.cpu_ns();
        let over = |seconds: u64| used >= seconds.saturating_mul(SECOND_NS);
        if over(limit.hard) {
            self.signal(Info::kernel(number::SIGKILL));
        } else if over(limit.soft) {
            self.signal(Info::kernel(number::SIGXCPU));
            self.limits.lock()[index::CPU].soft = limit.soft.saturating_add(1);
        }
    }
}
