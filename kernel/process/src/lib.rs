// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs: processes and their threads, what they are told (signals) and wait for (futexes, children), how they start and end, and who is
//! ended when memory is out.
//!
//! Nothing here knows a system call, a driver or a particular file system. What others are told of processes goes through
//! [`task::observer`], what a session needs of its terminal through [`task::controlling_tty`].
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod fault;
pub mod futex;
pub mod power;
pub mod signal;
pub mod task;

use exo_core::{errno, fallible, io_buf, random, room, sched, user};
use exo_mm as mm;
use exo_vfs as fs;
