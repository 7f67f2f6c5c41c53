// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the `my_rng` device, its drivers and their programs agree on.
//!
//! [`registers`] and [`queue`] are the contract between device and driver, [`ioctl`] the one between driver and program. Nothing here
//! does anything: the same files are compiled into the device process, into the Linux module (which takes them in with
//! `#[path]`), into Exo-Kernel and into the programs. `include/my_rng.h` is the C side of [`ioctl`]; a test compiles it
//! and compares every constant.
#![no_std]
#![forbid(unsafe_code)]

pub mod ioctl;
pub mod queue;
pub mod registers;
