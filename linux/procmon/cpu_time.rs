// SPDX-License-Identifier: GPL-2.0

//! How long a process ran in user mode and in the kernel.
//!
//! The timer tick finds out which of the two it was, some hundred times a second; the scheduler
//! measures exactly how long it ran, but not where. As `/proc/PID/stat` does, the exact time is
//! divided as the ticks say. This file is arithmetic only.

/// Times in nanoseconds whose sum is what the scheduler has measured.
pub(crate) struct Adjusted {
    pub(crate) user: u64,
    pub(crate) system: u64,
}

/// Divides the time that was measured, `running`, in the proportion of those that were sampled.
pub(crate) fn adjusted(user: u64, system: u64, running: u64) -> Adjusted {
    let system = if system == 0 {
        0
    } else if user == 0 {
        running
    } else {
        share(running, system, user.saturating_add(system))
    };
    let user = running.saturating_sub(system);
    Adjusted { user, system }
}

/// Returns `total * part / whole`, for a `part` that is at most `whole`. All three can be large;
/// the kernel has no 128-bit division, so the proportion is taken with its upper 32 bits.
fn share(total: u64, part: u64, whole: u64) -> u64 {
    let excess = (u64::BITS - whole.leading_zeros()).saturating_sub(32);
    let (part, whole) = (part >> excess, whole >> excess);

    // Both are below 2³², and so is the remainder: no product overflows.
    let quotient = total.checked_div(whole).unwrap_or(0);
    let remainder = total.checked_rem(whole).unwrap_or(0);
    let rest = (remainder * part).checked_div(whole).unwrap_or(0);
    quotient.saturating_mul(part).saturating_add(rest)
}
