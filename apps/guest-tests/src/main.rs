// SPDX-License-Identifier: MIT OR Apache-2.0
//! `guest-tests`: tests of Exo's kernel modules that only a machine can show. Runs as root inside the machine.
//!
//! Each module under test is one group, a folder or file of its own; a new one is a `mod` line and an entry in
//! [`groups`]. [`harness`] runs each test in a process of its own and looks into the kernel's log after it.
#![deny(unsafe_code)]

mod chardev;
mod harness;
mod my_rng;
mod net;
mod procmon;
mod raw;

use std::process::ExitCode;

use harness::Group;

/// All groups, in the order of running.
fn groups() -> Vec<Group> {
    vec![net::group(), my_rng::group(), procmon::group(), chardev::group()]
}

fn main() -> ExitCode {
    harness::main(&groups())
}
