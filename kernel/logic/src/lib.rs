// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of Exo-Kernel that need no hardware: data structures and decisions, compiled into the kernel and tested on
//! the host with `cargo test`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod areas;
pub mod boot_options;
pub mod buddy;
pub mod chacha;
pub mod core_file;
pub mod cpio;
pub mod credentials;
pub mod device;
pub mod elf;
pub mod event_reader;
pub mod event_rings;
pub mod frame_count;
pub mod icmp;
pub mod inheritance;
pub mod line_discipline;
pub mod lock_order;
pub mod log_ring;
pub mod name;
pub mod pci;
pub mod permissions;
pub mod range_locks;
pub mod ring;
pub mod seen;
pub mod slabs;
pub mod sleep;
pub mod slots;
pub mod strings;
pub mod symbols;
pub mod time;
pub mod translations;
pub mod uring;
