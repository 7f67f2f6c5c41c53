// SPDX-License-Identifier: MIT OR Apache-2.0
//! The my_rng PCI device, as a process that a virtual machine monitor attaches over vfio-user.
//!
//! | module | is | knows of |
//! | --- | --- | --- |
//! | [`generators`], [`stream`] | number generators, and the seedable stream | nothing |
//! | [`chacha`], [`entropy`] | the cipher, and the entropy stream | `getrandom` |
//! | [`registers`], [`access`] | the registers of BAR 0, and accesses of any width: pure, no I/O, no threads, no clock | streams |
//! | [`queue`] | the device's side of a queue: as pure | [`memory`], the guest's |
//! | [`limiter`], [`budget`], [`metrics`] | how much a guest may take, and what it took | |
//! | [`workers`] | the threads that serve the queues | all of these |
//! | `attached`, [`device`], [`msix`] | the glue: regions, interrupts, reset; what both personalities share of it, and the native one's | vfio-user |
//! | [`virtio`] | the other personality, a virtio entropy device | the same as queues, registers and device |
//! | [`driver`], [`mod@bench`] | the other side of a queue, and measurements with it | workers |
//! | [`control`] | the control socket, both sides | what devices share |
//! | [`logging`], [`activity`], [`watchdog`] | lines that nobody waits for; who works; who does not get on | |
//! | [`personality`] | what a device is to its guest | |
//! | [`usage`] | what the process uses of its host | |
//! | [`notify`] | a service manager's news | |
//! | [`sandbox`] | what the process gives up before it serves | the kernel |
//! | [`activation`] | sockets from a service manager | |
//! | [`process`] | sockets, threads and signals | the operating system |
//! | [`cli`], [`config`] | the command line, and limits in a file | |
//!
//! What the registers and queues mean is written in [`my_rng_abi`], for both sides.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod access;
pub mod activation;
pub mod activity;
mod attached;
pub mod bench;
pub mod budget;
pub mod chacha;
pub mod cli;
pub mod config;
pub mod control;
pub mod device;
pub mod driver;
pub mod entropy;
pub mod generators;
pub mod limiter;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod msix;
pub mod notify;
pub mod personality;
pub mod process;
pub mod queue;
pub mod registers;
pub mod sandbox;
pub mod shared;
pub mod stream;
pub mod usage;
pub mod virtio;
pub mod watchdog;
pub mod workers;
