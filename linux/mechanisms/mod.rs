// SPDX-License-Identifier: GPL-2.0

//! The kernel's classic mechanisms for out-of-tree modules, with a safe face.
//!
//! Every book on drivers has a chapter on each of these, and Linux 7.3 has no Rust abstraction for
//! any of them yet. Each file stands by itself, tells the mechanism's rules in its header, and
//! keeps its `unsafe` inside; what a module sees cannot break the rules.
//!
//! | file | holds | C side | the rule that it keeps for its users |
//! | --- | --- | --- | --- |
//! | [`rcu_cell`] | data that is read without locks and replaced as a whole | RCU, `call_rcu()` | what was replaced is freed after its last reader |
//! | [`per_cpu`] | one object for each CPU | `alloc_percpu()` | totals are over all *possible* CPUs |
//! | [`kthread`] | a thread of the kernel that works and rests | `kthread_run()` | it is woken and has ended before its data goes |
//! | [`parameter`] | a module parameter that root can change at any time | `module_param_cb()` | nonsense never gets in, `EINVAL` says so |
//! | [`process`] | processes: find one, walk all, ask them | `pid_task()`, `for_each_process()` | nothing that was found outlives the RCU read section |
//! | [`pid`] | a process's number, kept | `struct pid` | it stays that process's, even when the number is used again |
//! | [`credentials`] | what the caller may see | `capable()` | the question is about the one who opens the file |
//! | [`tracepoint`] | being called when processes fork, exec, exit | `tracepoint_probe_register()` | nobody is in the module's code when it goes |
//! | [`mmap_buffer`] | memory that programs can map | `vmalloc()`, `vm_insert_page()` | programs read, and never write |
//!
//! # Taking it into a module
//!
//! One Rust module is one crate, so the sources are compiled into each module that uses them:
//!
//! ```ignore
//! #[path = "../mechanisms/mod.rs"]
//! pub mod mechanisms;
//! ```
//!
//! in the crate root, `pub` so that a module may leave parts unused without a warning.

pub mod credentials;
pub mod kthread;
pub mod mmap_buffer;
pub mod parameter;
pub mod per_cpu;
pub mod pid;
pub mod process;
pub mod rcu_cell;
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
