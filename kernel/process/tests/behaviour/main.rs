// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs do and are told, on a machine of the host: see `exo-test-support`.

mod alarms;
mod clones;
mod core_files;
mod exec;
mod futexes;
mod handlers;
mod locks;
mod memory_out;
mod processes;
mod sessions;
mod signals;
mod stops;
mod support;
mod threads;
mod timers;
mod waits;
