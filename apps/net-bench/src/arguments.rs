// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `net-bench`.

use std::net::SocketAddr;

use bench_report::Options;
use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::rows;

/// Measures sockets and event files: bytes a second, round trips, connections, events
///
/// The same binary runs on Linux and on Exo-Kernel. Both ends of a connection are threads of this program, but for the rows that
/// have a partner.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(version, max_term_width = 80, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// Where a `net-bench --serve` runs, for the rows with a partner; without it, a thread of this program
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) partner: Option<SocketAddr>,

    /// Measure nothing, and be a partner at this port of 127.0.0.1 (0: any) until ended
    #[arg(long, value_name = "PORT", conflicts_with_all = ["partner", "rows"])]
    pub(crate) serve: Option<u16>,

    /// What is measured; without it, all rows
    #[arg(value_name = "ROW", value_parser = PossibleValuesParser::new(rows::ALL.iter().map(|row| row.name)))]
    pub(crate) rows: Vec<String>,
}

const AFTER_HELP: &str = "\
Ends with 0 if all went well, 1 if a row could not be measured, 2 if the command line was wrong.";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["net-bench"], words].concat())
    }

    #[test]
    fn options_and_rows_are_taken_and_mistakes_refused() {
        let expected = Arguments {
            options: Options { runs: 7, window: Duration::from_millis(10), json: true },
            partner: Some("10.0.2.2:7".parse().unwrap()),
            serve: None,
            rows: vec!["tcp_64k".to_owned()],
        };
        assert_eq!(
            parse(&["--runs=7", "--window", "10", "tcp_64k", "--json", "--partner=10.0.2.2:7"]).unwrap(),
            expected
        );
        for words in [
            &["--runs", "0"][..],
            &["--window", "long"],
            &["--fast"],
            &["sctp"],
            &["--serve", "70000"],
            &["--partner", "host"],
            &["--serve=1", "tcp_64k"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_help_names_every_row_and_fits_a_terminal() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        assert!(rows::ALL.iter().all(|row| help.contains(row.name)), "{help}");
    }
}
