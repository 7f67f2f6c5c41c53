// SPDX-License-Identifier: MIT OR Apache-2.0
//! `my-app`: draws rounds of numbers from a `my_rng` device, reseeding it before each, and checks that all rounds are
//! equal. It is the smallest complete example of a program for the device.
#![forbid(unsafe_code)]

mod arguments;
mod rounds;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Action, Arguments};
use my_rng_client::{Device, Seed};

/// What the shell sees for a wrong command line.
const STATUS_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(lexopt::Parser::from_env()) {
        Ok(Action::Run(arguments)) => arguments,
        Ok(Action::Help) => return ended(print(arguments::HELP)),
        Ok(Action::Version) => return ended(print(concat!("my-app ", env!("CARGO_PKG_VERSION"), "\n"))),
        Err(error) => {
            eprintln!("my-app: {error}; my-app --help shows the options");
            return ExitCode::from(STATUS_USAGE);
        }
    };
    ended(run(&arguments))
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::open(&arguments.device)?;
    let mut out = io::stdout().lock();
    let mut first_round = Vec::new();
    let mut difference = None;
    for round in 0..arguments.rounds {
        match (arguments.seed, arguments.stream) {
            // What every driver knows.
            (Seed::Bits32(seed), None) => device.seed(seed)?,
            (seed, stream) => device.seed_wide(&seed, stream)?,
        }
        if let Some(position) = arguments.seek {
            device.seek(position)?;
        }
        let mut numbers = Vec::new();
        for index in 0..arguments.numbers {
            let number = device.rand32()?;
            writeln!(out, "Round {round} number {index}: {number}")?;
            numbers.push(number);
        }
        if round == 0 {
            first_round = numbers;
        } else {
            difference = difference.or_else(|| rounds::difference(&first_round, round, &numbers));
        }
    }
    out.flush()?;
    difference.map_or(Ok(()), |difference| Err(difference.to_string().into()))
}

fn print(text: &str) -> Result<(), Box<dyn std::error::Error>> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn ended(result: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("my-app: {error}");
            ExitCode::FAILURE
        }
    }
}
