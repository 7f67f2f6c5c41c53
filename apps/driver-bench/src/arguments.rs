// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::time::Duration;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
driver-bench [--runs N] [--window MS] [--json]

Measures what Exo-Kernel's block layer costs by itself, on this host.

  --runs N     measure every figure N times (5); the median counts
  --window MS  measure for about so many milliseconds each time (200)
  --json       print JSON
";

/// What is to be done.
pub(crate) enum Action {
    Run(Arguments),
    Help,
}

pub(crate) struct Arguments {
    pub(crate) runs: u32,
    pub(crate) window: Duration,
    pub(crate) json: bool,
}

impl Arguments {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
        let mut arguments = Self { runs: 5, window: Duration::from_millis(200), json: false };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("runs") => arguments.runs = at_least_one(parser.value()?.parse()?)?,
                Long("window") => {
                    let milliseconds: u32 = at_least_one(parser.value()?.parse()?)?;
                    arguments.window = Duration::from_millis(milliseconds.into());
                }
                Long("json") => arguments.json = true,
                Long("help") | Short('h') => return Ok(Action::Help),
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Action::Run(arguments))
    }
}

fn at_least_one(number: u32) -> Result<u32, lexopt::Error> {
    if number == 0 { Err("0 where at least 1 is expected".into()) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Action, lexopt::Error> {
        Arguments::parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let Ok(Action::Run(arguments)) = parse(&["--runs", "3", "--window", "50", "--json"]) else {
            panic!("refused")
        };
        assert_eq!((arguments.runs, arguments.window.as_millis(), arguments.json), (3, 50, true));
        assert!(parse(&["--runs", "0"]).is_err() && parse(&["--fast"]).is_err());
    }
}
