// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rng-benchmark`: checks that a `my_rng` device gives the right numbers, then measures how fast a program gets them,
//! 32 and 64 bits at a time.
#![forbid(unsafe_code)]

mod arguments;
mod correctness;
mod draws;
mod progress;
mod summary;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Action, Arguments};
use bench_report::{Environment, Report};
use my_rng_client::Device;

/// What the shell sees for a wrong command line.
const STATUS_USAGE: u8 = 2;

fn main() -> ExitCode {
    let result = match Arguments::parse(lexopt::Parser::from_env()) {
        Ok(Action::Run(arguments)) => run(&arguments),
        Ok(Action::Help) => print(arguments::HELP),
        Ok(Action::Version) => print(concat!("rng-benchmark ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => {
            eprintln!("rng-benchmark: {error}; rng-benchmark --help shows the options");
            return ExitCode::from(STATUS_USAGE);
        }
    };
    bench_report::exit_code("rng-benchmark", result)
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let device = Device::open(&arguments.device)?;
    correctness::check(&device)?;
    if !arguments.json {
        print(&summary::head(arguments, &Environment::of_this_machine()))?;
    }
    let measured = draws::measure(&device, arguments)?;
    if arguments.json {
        return Ok(Report::new(measured.rows()).print(true)?);
    }
    print(&summary::table(&measured))
}

fn print(text: &str) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
