// SPDX-License-Identifier: MIT OR Apache-2.0
//! `block-bench`: what block devices give to a program that uses io_uring, by the same binary on Linux and on Exo-Kernel.
//!
//! ```text
//! devices ──▶ which device is which: a label in the first sector, as the machine numbers them as it likes
//! rows    ──▶ random 4 KiB and sequential 128 KiB, at several depths; what the calls cost apart from the device
//! ring    ──▶ a ring kept full for a window of time
//! memory  ──▶ aligned buffers
//! ```
//!
//! Devices are opened with O_DIRECT: Exo-Kernel has no cache for them, and Linux's would be measured instead of the device.

mod arguments;
mod devices;
mod memory;
mod ring;
mod rows;

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
        Ok(Action::Help) => print(arguments::HELP),
        Ok(Action::Version) => print(concat!("block-bench ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => {
            eprintln!("block-bench: {error}; block-bench --help shows the options");
            return ExitCode::from(STATUS_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("block-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut measured = Vec::new();
    for (name, path) in &arguments.devices {
        let device = match path {
            Some(path) => devices::open(path),
            None => devices::labelled(name),
        };
        let device = device.map_err(|error| format!("{name}: {error}"))?;
        for row in rows::ALL {
            let mut values = Vec::new();
            for _ in 0..arguments.runs {
                let value = (row.measure)(&device, arguments.window);
                values.push(value.map_err(|error| format!("{name}.{}: {error}", row.name))?);
            }
            measured.extend(Row::of(format!("{name}.{}", row.name), row.unit, &values));
        }
    }
    let report = Report { environment: Environment::of_this_machine(), rows: measured };
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
