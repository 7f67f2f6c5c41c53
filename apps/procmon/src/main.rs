// SPDX-License-Identifier: MIT OR Apache-2.0
//! `procmon`: shows processes and what happens to them, through `/dev/procmon`.
//!
//! Without a command it is a live table; the commands print and end.
#![deny(unsafe_code)]

mod arguments;
mod bench;
mod commands;
mod top;

use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::Duration;

use arguments::{Arguments, Command};
use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => top::run(&arguments.top),
        Some(Command::Events(options)) => commands::events(&options),
        Some(Command::Query { pids }) => commands::query(&pids),
        Some(Command::Stats) => commands::stats(),
        Some(Command::Snapshot { json }) => commands::snapshot(json),
        Some(Command::Read) => commands::read(),
        Some(Command::Write { message }) => commands::write(message.as_deref()),
        Some(Command::Filter { pid }) => commands::filter(pid),
        Some(Command::Bench(options)) => bench::run(&options),
        Some(Command::BenchReader) => bench::reader::run(),
        Some(Command::BenchForker { milliseconds, processor }) => {
            bench::forker::run(Duration::from_millis(milliseconds), processor)
        }
    };
    done.unwrap_or_else(|error| {
        // Whoever read us has read enough: `procmon events | head`.
        let kind = (error.downcast_ref::<io::Error>().map(io::Error::kind))
            .or_else(|| error.downcast_ref::<serde_json::Error>()?.io_error_kind());
        if kind == Some(ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("procmon: {error}");
        ExitCode::FAILURE
    })
}
