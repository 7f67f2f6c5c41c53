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
mod hooks;
mod init;

use exo_core::{errno, fallible, io_buf, random, room, sched, user};
use exo_fs::disk;
use exo_mm as mm;
use exo_process::{fault, power, signal, task};
use exo_vfs as fs;
