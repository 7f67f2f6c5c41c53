// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host tests of the kernel's crates share.
//!
//! - [`stage`]: machines of `exo-hal-fake`, one test at a time on each, and what fails a test.
//! - `programs` (a feature, for the crates from `exo-net` up): processes whose code is closures of a test. They do system calls, get
//!   signals, fork and start other programs as real ones do, on the kernel's own code from the table of system calls down.
#![forbid(unsafe_code)]

#[cfg(feature = "programs")]
pub mod programs;
pub mod stage;
