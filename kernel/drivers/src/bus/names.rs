// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of drivers.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::block::{DeviceName, device_name};

/// Names for the drivers of one kind: the kind's, and a number from 0 that is never used again.
pub struct Names {
    kind: &'static str,
    next: AtomicU32,
}

impl Names {
    /// For drivers of `kind`, such as `ahci`.
    pub const fn new(kind: &'static str) -> Self {
        Self { kind, next: AtomicU32::new(0) }
    }

    /// The next one, such as `ahci0`.
    pub fn next(&self) -> DeviceName {
        device_name(format_args!("{}{}", self.kind, self.next.fetch_add(1, Ordering::Relaxed)))
    }
}
