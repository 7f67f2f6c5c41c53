// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers over kernel facilities for which Linux 7.3 has no Rust abstraction.
//!
//! A module is one crate, so it compiles these sources into itself:
//!
//! ```ignore
//! #[path = "../mechanisms/mod.rs"]
//! pub mod mechanisms;
//! ```
//!
//! in the crate root, under this name, which the macros use, and `pub` so that unused parts give no
//! warning. `docs/kernel-mechanisms.md` explains the facilities; each file here states the rules
//! that it keeps.

pub mod credentials;
pub mod kthread;
pub mod mmap_buffer;
pub mod parameter;
pub mod per_cpu;
pub mod pid;
pub mod process;
pub mod rcu_cell;
pub mod time_ns;
pub mod tracepoint;

pub use self::{
    kthread::Kthread,
    mmap_buffer::MmapBuffer,
    parameter::Parameter,
    per_cpu::PerCpu,
    pid::PidRef,
    process::Process,
    rcu_cell::RcuCell,
    tracepoint::{
        ProcessEvents,
        ProcessProbes, //
    },
};
