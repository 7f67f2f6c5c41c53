// SPDX-License-Identifier: MIT OR Apache-2.0
//! `syscall-bench`: what system calls cost, by the same binary on Linux and on Exo-Kernel.
//!
//! ```text
//! rows ──▶ calls    (one call after the other in one thread)
//!      ──▶ memory   (mappings, page faults)
//!      ──▶ partners (two processes or threads that wake each other, on one CPU)
//!      ──▶ programs (fork, execve)
//!      ──▶ rate     (calls a second of a thread on each CPU)
//! system ──▶ the system calls that std does not have, with a safe face
//! ```
//!
//! Calls are made by the `syscall` instruction itself where the C library would put something between.

mod arguments;
mod calls;
mod memory;
mod partners;
mod programs;
mod rate;
mod rows;
mod system;

use std::process::ExitCode;

use arguments::Arguments;
use clap::Parser as _;

fn main() -> ExitCode {
    // What the row `execve` starts: looked for before anything else, so that no more than a program's start is measured.
    if std::env::args_os().nth(1).is_some_and(|word| word.as_encoded_bytes() == programs::NOTHING.to_bytes())
    {
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    let measured = bench_report::run(rows::ALL, &arguments.rows, arguments.options);
    bench_report::exit_code("syscall-bench", measured)
}
