// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/procmon` and `/dev/procmon_events` for Rust programs. The numbers and structures come from `procmon-abi`; the
//! only unsafe code of the programs is here.
//!
//! ```no_run
//! let monitor = procmon::Monitor::open()?;
//! for process in monitor.snapshot()? {
//!     println!("{} {}", process.pid, procmon::name(&process.comm));
//! }
//! # Ok::<(), procmon::Error>(())
//! ```

mod client;

pub use client::{Error, Events, Monitor, RingReader, Rings, Taken, full_name, name};
pub use procmon_abi as abi;
