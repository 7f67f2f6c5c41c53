// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network: interfaces, which have their addresses and answer pings, and sockets, of which there are pairs of connected Unix sockets only.
//!
//! Nothing here knows a process or a system call.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod interfaces;
pub mod socket_pair;

use exo_core::{errno, fallible, random, sched, user};
