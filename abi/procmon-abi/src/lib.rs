// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the `procmon` module and its programs agree on.
//!
//! [`ioctl`] and [`process`] are the interface of `/dev/procmon`, [`event`] and [`ring`] that of `/dev/procmon_events`.
//! [`rates`] is the arithmetic behind a part of its statistics.
//! The same files are compiled into the Linux module (which takes them in with `#[path]`) and into the programs.
//! `include/procmon.h` is the C side; a test compiles it and compares every constant, size and offset.
//!
//! All structures are made of whole numbers without gaps, so that no byte of the kernel's memory can leak through
//! padding, and all but two ([`ioctl::Stats`], [`ioctl::Query`]) are the same in 32-bit programs.
#![no_std]
#![forbid(unsafe_code)]

pub mod event;
pub mod ioctl;
pub mod process;
pub mod rates;
pub mod ring;
