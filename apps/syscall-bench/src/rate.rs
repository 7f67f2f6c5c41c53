// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls a second, with a thread on each CPU; and work on one CPU alone.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::system;
use bench_report::{Failure, nanoseconds};

/// How long the host of a virtual machine may take to give each of its CPUs one of its own: some ticks of its scheduler.
const SETTLING: Duration = Duration::from_millis(30);

/// `getpid` calls a second, all threads together.
pub(crate) fn getpid_rate(window: Duration) -> Result<f64, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let settled = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|cpu| {
                let settled = &settled;
                scope.spawn(move || -> Result<f64, Failure> {
                    let begun = system::pin(cpu).and_then(|()| getpid_time(SETTLING));
                    // Before any error is passed on, as the other threads wait here, too; and awake, so that no CPU rests.
                    settled.fetch_add(1, Ordering::SeqCst);
                    while settled.load(Ordering::SeqCst) < threads {
                        std::hint::spin_loop();
                    }
                    begun?;
                    Ok(1e9 / getpid_time(window)?)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| Failure::from("a measuring thread panicked"))?)
            .sum()
    })
}

/// Nanoseconds of a call.
fn getpid_time(window: Duration) -> Result<f64, Failure> {
    nanoseconds(window, |count| {
        (0..count).for_each(|_| {
            std::hint::black_box(system::getpid());
        });
        Ok(())
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
