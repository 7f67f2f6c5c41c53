// SPDX-License-Identifier: GPL-2.0

//! The work of the thread `procmon_monitor`: once in a while it notes how many processes have come
//! and gone, and how many threads want to run.

use crate::{
    events::Events,
    mechanisms::{
        kthread::{
            KthreadMain, //
            StopToken,
        },
        Process, //
    },
    parameters,
    rates::{
        History,
        Rates,
        Sample, //
    },
    time, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        rcu,
        Arc,
        Mutex, //
    },
};

/// Samples the system.
#[pin_data]
pub(crate) struct Sampler {
    events: Arc<Events>,
    #[pin]
    history: Mutex<History>,
}

impl Sampler {
    pub(crate) fn new(events: Arc<Events>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                events,
                history <- new_mutex!(History::EMPTY),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the rates over the last `seconds`.
    pub(crate) fn rates(&self, seconds: u32) -> Rates {
        self.history.lock().rates(seconds)
    }
}

impl KthreadMain for Sampler {
    fn run(&self, stop: &StopToken) {
        let (mut runnable, mut count) = (0u64, 0u64);
        loop {
            runnable = runnable.saturating_add(runnable_threads());
            count = count.saturating_add(1);

            let activity = self.events.activity();
            self.history.lock().add(Sample {
                time: time::now(),
                forks: activity.forks,
                execs: activity.execs,
                exits: activity.exits,
                runnable,
                count,
            });

            if !stop.sleep(parameters::INTERVAL.get()) {
                return;
            }
        }
    }
}

/// Counts the threads that run or wait for a processor, except for the one that counts.
fn runnable_threads() -> u64 {
    let guard = rcu::read_lock();
    let mut count = 0;

    for process in Process::all(&guard) {
        for thread in process.threads() {
            if thread.is_runnable() && !thread.is_current() {
                count += 1;
            }
        }
    }
    count
}
