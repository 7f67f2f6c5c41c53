// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls a second, with a thread on each CPU; and work on one CPU alone.

use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::time::Duration;

use crate::measure::nanoseconds;
use crate::{Failure, system};

/// `getpid` calls a second, all threads together.
pub(crate) fn getpid_rate(window: Duration) -> Result<f64, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|cpu| {
                let start = &start;
                scope.spawn(move || -> Result<f64, Failure> {
                    let pinned = system::pin(cpu);
                    // Before any error is passed on: the other threads wait here, too.
                    start.wait();
                    pinned?;
                    let time = nanoseconds(window, |count| {
                        (0..count).for_each(|_| {
                            std::hint::black_box(system::getpid());
                        });
                        Ok(())
                    })?;
                    Ok(1e9 / time)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| Failure::from("a measuring thread panicked"))?)
            .sum()
    })
}

/// Does `work` in a thread of its own that is bound to the first CPU, with all that it starts.
pub(crate) fn on_one_cpu<T: Send>(work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            system::pin(0)?;
            work()
        });
        thread.join().map_err(|_| "a measuring thread panicked")?
    })
}
