// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `block-bench`.

use std::path::PathBuf;
use std::str::FromStr;

use bench_report::Options;
use clap::Parser;

/// Measures block devices through io_uring
///
/// Random reads and writes of 4 KiB at depths 1 and 32, sequential ones of 128 KiB, what submitting and completing a request
/// costs apart from the device, and plain pread calls. The same binary runs on Linux and on Exo-Kernel.
///
/// THE DEVICES ARE OVERWRITTEN, but for their first 64 KiB.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(version, max_term_width = 80, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// Devices; without a PATH, the one whose first sector begins with the words "exo block-bench NAME". Rows are called
    /// NAME.read_4k_qd1 and so on
    #[arg(value_name = "NAME[=PATH]", required = true)]
    pub(crate) devices: Vec<Name>,
}

const AFTER_HELP: &str = "\
Ends with 0 if all went well, 1 if a row could not be measured, 2 if the command line was wrong.";

/// A device, as its rows are called, and its path if it has no label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) path: Option<PathBuf>,
}

impl FromStr for Name {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (name, path) = match word.split_once('=') {
            Some((name, path)) => (name, Some(PathBuf::from(path))),
            None => (word, None),
        };
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let no_path = path.as_ref().is_some_and(|path| path.as_os_str().is_empty());
        if name.is_empty() || !name.bytes().all(fine) || no_path {
            return Err("expected NAME or NAME=PATH, such as nvme=/dev/nvme0n1".to_owned());
        }
        Ok(Self { name: name.to_owned(), path })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["block-bench"], words].concat())
    }

    #[test]
    fn devices_have_names_and_perhaps_paths() {
        let device =
            |name: &str, path: Option<&str>| Name { name: name.to_owned(), path: path.map(Into::into) };
        let expected = Arguments {
            options: Options { runs: 7, window: Duration::from_millis(10), json: true },
            devices: vec![device("nvme", None), device("ram", Some("/dev/ram0"))],
        };
        let words = ["--runs=7", "--window", "10", "nvme", "--json", "ram=/dev/ram0"];
        assert_eq!(parse(&words).unwrap(), expected);
        for words in
            [&[][..], &["--runs", "0", "a"], &["--window", "x"], &["=x"], &["a="], &["A"], &["--fast"]]
        {
            assert!(parse(words).is_err(), "{words:?}");
        }
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
}
