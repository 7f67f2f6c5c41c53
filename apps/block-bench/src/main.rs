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

use std::process::ExitCode;

use arguments::Arguments;
use bench_report::{Report, Row};
use clap::Parser as _;

/// Anything that can go wrong on the way to a figure.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    bench_report::exit_code("block-bench", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let options = arguments.options;
    let mut measured = Vec::new();
    for arguments::Name { name, path } in &arguments.devices {
        let device = match path {
            Some(path) => devices::open(path),
            None => devices::labelled(name),
        };
        let device = device.map_err(|error| format!("{name}: {error}"))?;
        for row in rows::ALL {
            let mut values = Vec::new();
            for _ in 0..options.runs {
                let value = (row.measure)(&device, options.window);
                values.push(value.map_err(|error| format!("{name}.{}: {error}", row.name))?);
            }
            measured.extend(Row::of(format!("{name}.{}", row.name), row.unit, &values));
        }
    }
    Ok(Report::new(measured).print(options.json)?)
}
