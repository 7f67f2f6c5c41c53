// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drivers, as programs see them: their files in /dev and /sys, and how their calls wait.

pub mod procmon;

/// Starts the drivers, when all CPUs run and before any program does.
pub fn start() {
    procmon::start();
}
