// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control socket: what the devices do can be seen, and their limits changed, while they run.
//!
//! [`protocol`] is what goes over it, [`Server`] the running program's side, [`client`] the side of `my-rng-device status`
//! and `my-rng-device limit`, [`table`] and [`prometheus`] are what the former can print.

pub mod client;
pub mod prometheus;
pub mod protocol;
mod server;
pub mod table;

pub use server::{Controlled, Program, Server};
