// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo`: gets the tools, builds everything, starts the machines, tests and measures.
//!
//! ```text
//! commands ──▶ toolroot (the private Debian tree)  ──▶ sandbox (namespaces)
//!          ──▶ kernel   (Debian's kernel, made fit for Rust modules), kmod (modules for it)
//!          ──▶ exo_kernel (Exo-Kernel, built with the tree's rustc)
//!          ──▶ programs (cargo builds), initramfs
//!          ──▶ machine  (QEMU, the device process, the guest's streams and status)
//! ```
#![forbid(unsafe_code)]

mod bench;
mod cli;
mod commands;
mod context;
mod debian;
mod diagnostics;
mod disk_space;
mod exo_kernel;
mod initramfs;
mod interrupt;
mod kernel;
mod kmod;
mod lock;
mod machine;
mod process;
mod programs;
mod sandbox;
mod silence;
mod tests;
mod toolroot;
mod ui;

use clap::Parser as _;

fn main() {
    let cli = cli::Cli::parse();
    let status = match commands::run(cli) {
        Ok(status) => status,
        Err(_) if interrupt::requested() => {
            ui::note("interrupted; everything that was started is stopped");
            interrupt::EXIT_STATUS
        }
        Err(error) => {
            eprintln!("{} {error:#}", ui::paint("31;1", "error:"));
            1
        }
    };
    std::process::exit(status);
}
