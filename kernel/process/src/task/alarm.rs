// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interval timer of a process that goes by the time of day (ITIMER_REAL, alarm).

use alloc::sync::{Arc, Weak};

use exo_hal::time;

use super::{Process, process::Alarm};
use crate::{
    sched::timer::{self, Action, TimerTarget},
    signal::{Info, number},
};

impl TimerTarget for Process {
    fn expired(self: Arc<Self>) {
        self.alarm_expired();
    }
}

impl Process {
    /// Sets the interval timer; the old one's remaining time and interval.
    pub fn set_alarm(self: &Arc<Self>, delay: u64, interval: u64) -> (u64, u64) {
        let mut alarm = self.alarm.lock();
        let now = time::now_ns();
        let old = (alarm.deadline.saturating_sub(now), alarm.interval);
        let was_set = alarm.deadline != 0;
        if let Some(key) = alarm.key.take() {
            timer::cancel(key);
        }
        *alarm = Alarm::default();
        if delay > 0 {
            let deadline = now.saturating_add(delay);
            let key = timer::add(deadline, self.alarm_action());
            *alarm = Alarm { deadline, interval, key: Some(key) };
        }
        // A timer that is about to run out is not off yet: 0 would say that.
        if was_set { (old.0.max(1), old.1) } else { (0, 0) }
    }

    /// The remaining time and the interval of the interval timer.
    pub fn alarm(&self) -> (u64, u64) {
        let alarm = self.alarm.lock();
        let left = alarm.deadline.saturating_sub(time::now_ns());
        if alarm.deadline == 0 { (0, 0) } else { (left.max(1), alarm.interval) }
    }

    fn alarm_action(self: &Arc<Self>) -> Action {
        let target: Weak<dyn TimerTarget> = Arc::<Self>::downgrade(self);
        Action::Tell(target)
    }

    /// The interval timer ran out. One that repeats begins anew when its signal is taken, as on Linux: whatever its interval, it
    /// costs no more than the program's own handling of it.
    fn alarm_expired(&self) {
        {
            let mut alarm = self.alarm.lock();
            if alarm.key.is_none() || time::now_ns() < alarm.deadline {
                // It was set to something else meanwhile.
                return;
            }
            if let Some(key) = alarm.key.take() {
                // This entry is gone from the list already, unless it is that of a newer setting which is due as well.
                timer::cancel(key);
            }
            if alarm.interval == 0 {
                alarm.deadline = 0;
            }
        }
        self.signal(Info::kernel(number::SIGALRM));
    }

    /// A SIGALRM was taken: the timer that sent it, if it repeats, runs out at the next multiple of its interval.
    pub fn alarm_taken(self: &Arc<Self>) {
        let mut alarm = self.alarm.lock();
        if alarm.deadline == 0 || alarm.interval == 0 || alarm.key.is_some() {
            return;
        }
        let late = time::now_ns().saturating_sub(alarm.deadline);
        let turns = late.checked_div(alarm.interval).unwrap_or(0).saturating_add(1);
        alarm.deadline = alarm.deadline.saturating_add(turns.saturating_mul(alarm.interval));
        alarm.key = Some(timer::add(alarm.deadline, self.alarm_action()));
    }
}
