// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control socket: what the devices do can be seen, their limits changed, and devices added and removed, while they run.
//!
//! [`protocol`] is what goes over it, [`Server`] the running program's side, [`registry`] what it works on, [`client`] the side
//! of `my-rng-device status` and the like, [`table`] and [`prometheus`] are what that can print.

pub mod client;
mod closer;
mod connection;
pub mod prometheus;
pub mod protocol;
pub mod registry;
mod server;
pub mod table;

pub use closer::MOST_DESCRIPTORS;
pub use registry::{Controlled, Registry};
pub use server::{Orders, Program, Server};
