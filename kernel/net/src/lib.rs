// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network: interfaces, which have their addresses and answer pings, and sockets.
//!
//! ```text
//! a call ──▶ file (a socket's open file) ──▶ socket::Socket, what every family can do ──▶ unix/, inet/, netlink/
//! ```
//!
//! Nothing here knows a process or a system call. What programs hand over is an `IoBuf` or `IoSource`, and is copied with nothing locked.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod address;
pub mod common;
pub mod family;
pub mod file;
pub mod holder;
pub mod inet;
pub mod interfaces;
mod netlink;
pub mod options;
pub mod patience;
mod requests;
pub mod socket;
pub mod unix;

use exo_core::{errno, fallible, io_buf, random, sched, user};
