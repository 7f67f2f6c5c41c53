// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `my-rng-device` program. See `--help` and the README.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use my_rng_device::cli::{Command, Format, Options};
use my_rng_device::control::protocol::{LimitChange, Status, Which};
use my_rng_device::control::{client, prometheus, table};
use my_rng_device::{bench, config, logging, process};

/// Moves a terminal's cursor to the top left and clears what is below (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[J";

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(error) = options.check() {
        error.exit();
    }
    logging::init(options.log_level());
    let outcome = match &options.command {
        None => process::run(&options).map_err(Into::into),
        Some(Command::Bench { json }) => bench(*json),
        Some(Command::Status { control, format, watch }) => status(control, *format, *watch),
        Some(Command::Limit { control, device, bytes_per_second, operations_per_second }) => {
            let change = LimitChange {
                device: *device,
                bytes_per_second: bytes_per_second.clone(),
                operations_per_second: operations_per_second.clone(),
            };
            limit(control, change)
        }
        Some(Command::Add { control, socket }) => add(control, socket),
        Some(Command::Remove { control, device, socket }) => {
            remove(control, Which { device: *device, socket: socket.clone() })
        }
        Some(Command::ReadConfig { path, sandbox }) => config::serve(path, *sandbox).map_err(Into::into),
        Some(Command::Log { control, level }) => client::log(control, *level).map(drop).map_err(Into::into),
        Some(Command::NewGeneration { control }) => {
            client::new_generation(control).map(drop).map_err(Into::into)
        }
    };
    logging::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has had enough.
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("my-rng-device: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn bench(json: bool) -> Result<(), Box<dyn Error>> {
    let report = bench::run()?;
    let text = if json { serde_json::to_string_pretty(&report)? + "\n" } else { report.table() };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn status(control: &Path, format: Format, watch: Option<u64>) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    loop {
        let text = render(&client::status(control)?, format)?;
        if watch.is_some() && format == Format::Table && out.is_terminal() {
            out.write_all(CLEAR.as_bytes())?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        let Some(seconds) = watch else { return Ok(()) };
        thread::sleep(Duration::from_secs(seconds));
    }
}

fn render(status: &Status, format: Format) -> Result<String, serde_json::Error> {
    Ok(match format {
        Format::Table => table::render(status),
        Format::Json => serde_json::to_string(status)? + "\n",
        Format::Prometheus => prometheus::render(status),
    })
}

fn add(control: &Path, socket: &Path) -> Result<(), Box<dyn Error>> {
    let place = client::add(control, socket)?;
    println!("device {}: {}", place.device, place.socket.display());
    Ok(())
}

fn remove(control: &Path, which: Which) -> Result<(), Box<dyn Error>> {
    let place = client::remove(control, which)?;
    println!("device {}: removed", place.device);
    if place.socket.exists() {
        eprintln!("my-rng-device: {}: the socket is left behind", place.socket.display());
    }
    Ok(())
}

fn limit(control: &Path, change: LimitChange) -> Result<(), Box<dyn Error>> {
    for changed in client::limit(control, change)? {
        println!("device {}: {}", changed.device, changed.limits);
    }
    Ok(())
}
