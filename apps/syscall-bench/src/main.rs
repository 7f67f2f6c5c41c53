// SPDX-License-Identifier: MIT OR Apache-2.0
//! `syscall-bench`: what system calls cost, by the same binary on Linux and on Exo-Kernel.
//!
//! ```text
//! rows ──▶ calls    (one call after the other in one thread)
//!      ──▶ memory   (mappings, page faults)
//!      ──▶ partners (two processes or threads that wake each other, on one CPU)
//!      ──▶ programs (fork, execve)
//!      ──▶ rate     (calls a second of a thread on each CPU)
//! measure ──▶ slices of time, of which the median counts
//! system ──▶ the system calls that std does not have, with a safe face
//! ```
//!
//! Calls are made by the `syscall` instruction itself where the C library would put something between.

mod arguments;
mod calls;
mod measure;
mod memory;
mod partners;
mod programs;
mod rate;
mod rows;
mod system;

use std::process::ExitCode;

use arguments::Arguments;
use bench_report::{Report, Row};
use clap::Parser as _;

/// Anything that can go wrong on the way to a figure.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // What the row `execve` starts: looked for before anything else, so that no more than a program's start is measured.
    if std::env::args_os().nth(1).is_some_and(|word| word.as_encoded_bytes() == programs::NOTHING.to_bytes())
    {
        return ExitCode::SUCCESS;
    }
    bench_report::exit_code("syscall-bench", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let options = arguments.options;
    let wanted =
        |row: &&rows::Row| arguments.rows.is_empty() || arguments.rows.iter().any(|name| name == row.name);
    let mut measured: Vec<_> = rows::ALL.iter().filter(wanted).map(|row| (row, Vec::new())).collect();
    for _ in 0..options.runs {
        // In turns, so that a slow moment of the host does not fall on one row alone.
        for (row, values) in &mut measured {
            match (row.measure)(options.window) {
                Ok(value) => values.push(value),
                Err(error) if row.is_optional => eprintln!("{} not measured: {error}", row.name),
                Err(error) => return Err(format!("{}: {error}", row.name).into()),
            }
        }
    }
    let rows = measured.iter().filter_map(|(row, values)| Row::of(row.name, row.unit, values));
    Ok(Report::new(rows.collect()).print(options.json)?)
}
