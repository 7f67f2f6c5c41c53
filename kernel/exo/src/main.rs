// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exo-Kernel: runs static Linux programs on bare x86-64. See README.md for a map of the code.
//!
//! Everything here is safe Rust on top of `exo-hal`; the one exception is [`hooks`], where the two meet.
#![no_std]
#![no_main]
#![deny(unsafe_code)]
#![expect(unreachable_pub, reason = "one crate: `pub` says what a module offers to its neighbours")]

extern crate alloc;

mod crash;
mod drivers;
mod fs;
mod hooks;
mod init;
mod io_uring;
mod ipc;
mod syscall;

use exo_core::{errno, fallible, random, room, sched, user};
use exo_fs::{disk, kernel_log};
use exo_mm as mm;
use exo_net as net;
use exo_process::{futex, power, signal, task};
