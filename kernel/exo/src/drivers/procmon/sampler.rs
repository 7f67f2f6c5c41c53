// SPDX-License-Identifier: MIT OR Apache-2.0
//! Once in a while: how many processes have come and gone, and how many threads want to run.

use exo_hal::{sync::SpinLock, time};
use procmon_abi::rates::{History, Rates, Sample};

use super::{events, settings};
use crate::sched::{
    self,
    timer::{self, Action},
};

struct Sampler {
    history: History,
    runnable: u64,
    count: u64,
}

static SAMPLER: SpinLock<Sampler> = SpinLock::new(Sampler { history: History::EMPTY, runnable: 0, count: 0 });

/// Takes the first sample, and those that follow.
pub(super) fn start() {
    sample();
}

fn sample() {
    let now = time::now_ns();
    {
        let mut sampler = SAMPLER.lock();
        sampler.runnable = sampler.runnable.saturating_add(sched::runnable_count() as u64);
        sampler.count = sampler.count.saturating_add(1);
        let activity = events::activity();
        let (runnable, count) = (sampler.runnable, sampler.count);
        sampler.history.add(Sample {
            time: now,
            forks: activity.forks,
            execs: activity.execs,
            exits: activity.exits,
            runnable,
            count,
        });
    }
    timer::add(now + settings::interval_ns(), Action::Call(sample));
}

/// The rates over the last `seconds`.
pub(super) fn rates(seconds: u32) -> Rates {
    SAMPLER.lock().history.rates(seconds)
}
