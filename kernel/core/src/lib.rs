// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core of the kernel: what everything above it is made of. Errors, memory that may be refused, threads and their scheduler, timers,
//! waiting, and values in the running program's memory.
//!
//! The core knows no process, no file and no signal. What it has to ask of those that do goes through [`thread::Task`], which the floor of
//! processes implements.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod account;
pub mod credentials;
pub mod errno;
pub mod fallible;
pub mod io_buf;
pub mod limits;
pub mod names;
pub mod random;
pub mod room;
pub mod sched;
pub mod thread;
pub mod user;
