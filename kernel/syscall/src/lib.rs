// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls: one file for each group, one line for each call in [`dispatch`]'s table. How to add one: see
//! docs/add-a-system-call.md.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod dispatch;
pub mod way_back;

mod attributes;
mod blocks;
mod credentials;
mod descriptors;
mod event_files;
mod fcntl;
mod futexes;
mod identity;
mod info;
mod ipcs;
mod lean;
mod locks;
mod lookup;
mod memory;
mod messages;
mod mounts;
mod names;
mod open;
mod pidfds;
mod polling;
mod prctl;
mod processes;
mod read_write;
mod scheduling;
mod seals;
mod signals;
mod sizes;
mod socket_options;
mod sockets;
mod splice;
mod status;
mod timers;
mod times;
mod watches;
mod xattrs;

use exo_core::{errno, fallible, io_buf, random, room, sched, user};
use exo_fs::{disk, kernel_log};
use exo_io::{asynchronous, io_uring, ipc};
use exo_mm as mm;
use exo_net as net;
use exo_process::{futex, power, signal, task};
use exo_vfs as fs;

/// A register as the type that a handler wants; as in C, the upper half of a narrower type does not count.
pub trait Argument {
    /// Converts.
    fn from_register(value: u64) -> Self;
}

macro_rules! arguments {
    ($($type:ty)*) => { $(
        impl Argument for $type {
            #[inline(always)]
            fn from_register(value: u64) -> Self {
                value as $type
            }
        }
    )* };
}

arguments!(i32 u32 i64 u64 usize);
