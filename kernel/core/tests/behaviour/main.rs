// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the core promises, tried on the machine of `exo-hal-fake`. On one CPU each test takes the same course in each run; those with two
//! say so, and hold in any order.

mod support;

mod errors;
mod figures;
mod io_buf;
mod locking;
mod memory;
mod names;
mod order;
mod priorities;
mod random_bytes;
mod several_cpus;
mod timers;
mod user_memory;
mod waiting;
