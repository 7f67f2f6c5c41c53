// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `my-rng-device` program. See `--help` and the README.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use my_rng_device::cli::{Command, Options};
use my_rng_device::{bench, process};

fn main() -> ExitCode {
    let options = Options::parse();
    env_logger::Builder::new().filter_level(options.log_level()).init();
    let outcome = match &options.command {
        None => process::run(&options).map_err(Into::into),
        Some(Command::Bench { json }) => bench(*json),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("my-rng-device: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(json: bool) -> Result<(), Box<dyn Error>> {
    let report = bench::run()?;
    let text = if json { serde_json::to_string_pretty(&report)? + "\n" } else { report.table() };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
