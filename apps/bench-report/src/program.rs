// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the programs that measure have in common: options, and how they end.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, value_parser};

/// Options that every benchmark has. A program takes them in with `#[command(flatten)]`.
///
/// One whose measurements need another length than 200 ms says so with
/// `#[command(mut_arg("window", |window| window.default_value("400")))]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Options {
    /// Times that each row is measured; the median is shown
    // Medians are of at least five.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    pub runs: u32,

    /// Length of one measurement in milliseconds
    #[arg(long, value_name = "MS", default_value = "200", value_parser = milliseconds)]
    pub window: Duration,

    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// A length of time from a command line: whole milliseconds, 1 to 4294967295.
fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(number @ 1_u32..) => Ok(Duration::from_millis(number.into())),
        _ => Err(format!("expected 1 to {} milliseconds", u32::MAX)),
    }
}

/// How `main` ends: with 0, or with what went wrong on stderr, after the program's name, and 1. (A wrong command line ends
/// with 2; clap sees to that.)
pub fn exit_code<E: Display>(program: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With the causes, where the error has any.
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(mut_arg("window", |window| window.default_value("400")))]
    struct Slow {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &[&str]) -> Result<Options, clap::Error> {
        Slow::try_parse_from([&["slow"], words].concat()).map(|slow| slow.options)
    }

    #[test]
    fn options_are_taken_and_mistakes_refused() {
        let expected = Options { runs: 7, window: Duration::from_millis(10), json: true };
        assert_eq!(parse(&["--runs=7", "--window", "10", "--json"]).unwrap(), expected);
        for wrong in [
            &["--runs", "0"][..],
            &["--runs", "-1"],
            &["--window", "0"],
            &["--window", "long"],
            &["--window", "4294967296"],
            &["--window"],
            &["--fast"],
            &["1"],
        ] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}: {error}");
        }
    }

    #[test]
    fn medians_are_of_five_and_a_program_may_choose_another_window() {
        let expected = Options { runs: 5, window: Duration::from_millis(400), json: false };
        assert_eq!(parse(&[]).unwrap(), expected);
    }
}
