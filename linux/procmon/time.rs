// SPDX-License-Identifier: GPL-2.0

//! The clock of events and samples.

use kernel::bindings;

/// Returns the time of `CLOCK_MONOTONIC` in nanoseconds. It never goes back, on no CPU and between
/// none of them.
pub(crate) fn now() -> u64 {
    // SAFETY: Always allowed, once the machine is up.
    let nanoseconds = unsafe { bindings::ktime_get() };

    // CAST: It starts at zero.
    nanoseconds as u64
}
