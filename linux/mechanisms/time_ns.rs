// SPDX-License-Identifier: GPL-2.0

//! Times in the caller's time namespace.
//!
//! C header: [`include/linux/time_namespace.h`](srctree/include/linux/time_namespace.h)

extern "C" {
    fn mechanisms_boottime_in_current_ns(nanoseconds: u64) -> u64;
    fn mechanisms_monotonic_offset() -> i64;
    fn mechanisms_in_initial_time_ns() -> bool;
}

/// Converts a time of `CLOCK_BOOTTIME`, in nanoseconds.
pub fn boottime_in_current_ns(nanoseconds: u64) -> u64 {
    // SAFETY: Only reads the caller's own namespace.
    unsafe { mechanisms_boottime_in_current_ns(nanoseconds) }
}

/// Returns what the namespace adds to `CLOCK_MONOTONIC`, in nanoseconds.
pub fn monotonic_offset() -> i64 {
    // SAFETY: Only reads the caller's own namespace.
    unsafe { mechanisms_monotonic_offset() }
}

/// Tells whether the caller is in the initial time namespace.
pub fn in_initial_namespace() -> bool {
    // SAFETY: Only reads the caller's own namespace.
    unsafe { mechanisms_in_initial_time_ns() }
}
