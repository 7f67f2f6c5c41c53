// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be set. `ring_events` is set by `procmon.ring_events=N` on the kernel's command line.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::{format, string::String};

use exo_logic::boot_options;

use crate::errno::{Errno, Result};

/// A setting in whole numbers.
pub(super) struct Number {
    value: AtomicUsize,
    least: usize,
    most: usize,
}

impl Number {
    const fn new(value: usize, least: usize, most: usize) -> Self {
        Self { value: AtomicUsize::new(value), least, most }
    }

    fn get(&self) -> usize {
        self.value.load(Ordering::Relaxed)
    }

    /// EINVAL for what is no number within the bounds.
    pub(super) fn set(&self, text: &str) -> Result<()> {
        let value = text.parse().ok().filter(|value| (self.least..=self.most).contains(value));
        self.value.store(value.ok_or(Errno::EINVAL)?, Ordering::Relaxed);
        Ok(())
    }

    /// As its file has it.
    pub(super) fn show(&self) -> String {
        format!("{}\n", self.get())
    }
}

/// Longest message in bytes.
pub(super) static BUFFER_SIZE: Number = Number::new(1024, 1, 1 << 20);
/// Milliseconds between two samples.
pub(super) static INTERVAL: Number = Number::new(1000, 10, 60_000);
/// Events in each CPU's ring: a power of two.
pub(super) static RING_EVENTS: Number = Number::new(4096, 64, 1 << 20);

/// Longest message in bytes.
pub(super) fn buffer_size() -> usize {
    BUFFER_SIZE.get()
}

/// Nanoseconds between two samples.
pub(super) fn interval_ns() -> u64 {
    INTERVAL.get() as u64 * 1_000_000
}

/// Events in each CPU's ring, as the command line says it.
pub(super) fn ring_events() -> Result {
    let line = exo_hal::boot::info().command_line;
    if let Some(value) = boot_options::value(line, "procmon.ring_events") {
        RING_EVENTS.set(value)?;
    }
    if RING_EVENTS.get().is_power_of_two() { Ok(RING_EVENTS.get()) } else { Err(Errno::EINVAL) }
}
