// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `device-bench`.

use std::path::PathBuf;

use bench_report::Options;
use clap::Parser;
use my_rng_abi::registers::{
    GENERATOR_CHACHA20, GENERATOR_GLIBC, GENERATOR_PCG64, GENERATOR_XORSHIFT64_STAR,
};

use crate::dump::Way;

/// Measures how fast the my_rng device fills memory with the entropy stream
///
/// In bytes per second of its own processor time, without a virtual machine.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(version, max_term_width = 80, mut_arg("window", |window| window.default_value("400")))]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// Measure nothing, but write random bytes to stdout: one-shot, or registers:G for the generator G (glibc,
    /// xorshift64star, pcg64, chacha20)
    #[arg(long, value_name = "WAY", requires = "bytes", value_parser = way_of)]
    pub(crate) dump: Option<Way>,

    /// How many bytes --dump writes
    #[arg(long, value_name = "N", requires = "dump")]
    pub(crate) bytes: Option<u64>,

    /// The program my-rng-device
    pub(crate) device: PathBuf,
}

fn way_of(text: &str) -> Result<Way, String> {
    let generator = match text {
        "one-shot" => return Ok(Way::OneShot),
        "registers:glibc" => GENERATOR_GLIBC,
        "registers:xorshift64star" => GENERATOR_XORSHIFT64_STAR,
        "registers:pcg64" => GENERATOR_PCG64,
        "registers:chacha20" => GENERATOR_CHACHA20,
        _ => return Err("expected one-shot or registers:GENERATOR".to_owned()),
    };
    Ok(Way::Registers(generator))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["device-bench"], words].concat())
    }

    #[test]
    fn options_are_taken_and_mistakes_refused() {
        let options = Options { runs: 2, window: Duration::from_millis(30), json: true };
        let expected = Arguments { options, dump: None, bytes: None, device: "/d".into() };
        assert_eq!(parse(&["--runs", "2", "/d", "--window=30", "--json"]).unwrap(), expected);
        for wrong in [&[][..], &["a", "b"], &["a", "--runs", "0"], &["a", "--window", "x"], &["a", "--fast"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        let options = Options { runs: 5, window: Duration::from_millis(400), json: false };
        let dump = Arguments { options, dump: Some(Way::OneShot), bytes: Some(8), device: "/d".into() };
        assert_eq!(parse(&["--dump", "one-shot", "--bytes", "8", "/d"]).unwrap(), dump);
        assert!(parse(&["--dump", "one-shot", "/d"]).is_err());
        assert!(parse(&["--dump", "registers:dice", "--bytes", "8", "/d"]).is_err());
    }
}
