// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's side of a queue of the `my_rng` device ([`my_rng_abi::queue`]), for whoever drives one: the Linux module
//! (which takes `ring.rs` and `window.rs` in with `#[path]`), Exo-Kernel, and programs that have mapped a queue of their own.
//!
//! [`Ring`] knows how many buffers are posted, complete and taken, and keeps the rules of the contract: order of the
//! writes, barriers, when the doorbell is needed, how to sleep without missing an interrupt. How the shared words are
//! reached is the user's business ([`State`]), so nothing here is unsafe, and the tests run it on a simulated memory.
//! [`Window`] hands out what came out of a ring to many at once.
#![no_std]
#![forbid(unsafe_code)]

pub use my_rng_abi::queue;

pub mod ring;
pub mod window;

pub use ring::{Fault, Layout, Piece, Ring, State};
pub use window::Window;
