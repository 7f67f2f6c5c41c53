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

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Action, Arguments};
use bench_report::{Environment, Report, Row, Table, decimal, grouped};

/// What the shell sees for a wrong command line.
const STATUS_USAGE: u8 = 2;

/// Anything that can go wrong on the way to a figure.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let result = match Arguments::parse(lexopt::Parser::from_env()) {
        Ok(Action::Run(arguments)) => run(&arguments),
        Ok(Action::Nothing) => Ok(()),
        Ok(Action::Help) => print(arguments::HELP),
        Ok(Action::Version) => print(concat!("syscall-bench ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => {
            eprintln!("syscall-bench: {error}; syscall-bench --help shows the options");
            return ExitCode::from(STATUS_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syscall-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let wanted =
        |row: &&rows::Row| arguments.rows.is_empty() || arguments.rows.iter().any(|name| name == row.name);
    let wanted: Vec<_> = rows::ALL.iter().filter(wanted).map(|row| (row, Vec::new())).collect();
    let mut measured = wanted;
    for _ in 0..arguments.runs {
        // In turns, so that a slow moment of the host does not fall on one row alone.
        for (row, values) in &mut measured {
            match (row.measure)(arguments.window) {
                Ok(value) => values.push(value),
                Err(error) if row.is_optional => eprintln!("{} not measured: {error}", row.name),
                Err(error) => return Err(format!("{}: {error}", row.name).into()),
            }
        }
    }
    let rows = measured.iter().filter_map(|(row, values)| Row::of(row.name, row.unit, values)).collect();
    let report = Report { environment: Environment::of_this_machine(), rows };
    print(&if arguments.json { report.to_json()? } else { table(&report.rows) })
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&["row", "unit", "median", "min", "max"]);
    for row in rows {
        let show = if row.unit == "ns" { decimal } else { grouped };
        let mut cells = vec![row.name.clone(), row.unit.to_owned()];
        cells.extend([row.median, row.min, row.max].map(show));
        table.row(cells);
    }
    table.to_string()
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
