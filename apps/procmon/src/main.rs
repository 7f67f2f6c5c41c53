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

use arguments::{Command, HELP};

/// What the shell sees for a wrong command line.
const STATUS_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match Command::parse(lexopt::Parser::from_env()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("procmon: {error}; procmon --help shows the commands");
            return ExitCode::from(STATUS_USAGE);
        }
    };
    let done = match command {
        Command::Help => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Top(options) => top::run(&options),
        Command::Events(options) => commands::events(&options),
        Command::Query(pids) => commands::query(&pids),
        Command::Stats => commands::stats(),
        Command::Snapshot { json } => commands::snapshot(json),
        Command::Read => commands::read(),
        Command::Write(message) => commands::write(message.as_deref()),
        Command::Filter(pid) => commands::filter(pid),
        Command::Bench(options) => bench::run(&options),
        Command::BenchReader => bench::reader::run(),
        Command::BenchForker { window, processor } => bench::forker::run(window, processor),
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
