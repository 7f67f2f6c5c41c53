// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `rng-bench`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use bench_report::Options;
use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::rows;

/// Measures how fast a program gets random numbers in this machine
///
/// By every way that there is: those of a my_rng device and those of its peers, in turns. A row whose source this machine
/// lacks is named on stderr.
#[derive(Debug, PartialEq, Eq, Parser)]
// The window is long enough for some thousand switches between a machine and its host's processes.
#[command(version, max_term_width = 80, after_help = AFTER_HELP, mut_arg("window", |window| window.default_value("400")))]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// Threads that draw at once, each on a CPU of its own [default: as many as there are CPUs]
    #[arg(long, value_name = "N", hide_default_value = true, default_value_t = cpus())]
    pub(crate) threads: NonZeroUsize,

    /// Device node, for the rows rng.ioctl_rand32, rng.ioctl_rand64, rng.read and rng.mmap
    #[arg(long, value_name = "PATH", default_value = "/dev/my_rng0")]
    pub(crate) device: PathBuf,

    /// Device whose registers are read directly, for the row rng.mmio_rand32; it is taken from its driver meanwhile
    #[arg(long, value_name = "NAME", default_value = "my_rng1")]
    pub(crate) mmio_device: String,

    /// PCI address of a my_rng device that is a virtio device, as 0000:00:12.0, for the row rng.hwrng_virtio
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) own_virtio_rng: Option<String>,

    /// The same of QEMU's virtio-rng, for the row peer.hwrng_virtio
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) virtio_rng: Option<String>,

    /// The same of one that another process serves, for the row peer.vhost_user_rng
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) vhost_user_rng: Option<String>,

    /// Print a line `run N of M` before each run
    #[arg(long)]
    pub(crate) progress: bool,

    /// What is measured; without it, all rows
    #[arg(value_name = "ROW", value_parser = PossibleValuesParser::new(rows::ALL.iter().map(|row| row.name)))]
    pub(crate) rows: Vec<String>,
}

const AFTER_HELP: &str = "\
A measurement is cut into 4 slices.

Ends with 0 if all went well, 1 if a source failed while it was measured, 2 if the command line was wrong.";

fn cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["rng-bench"], words].concat())
    }

    #[test]
    fn every_option_is_taken() {
        let words = [
            "rng.read",
            "--runs=7",
            "--window",
            "10",
            "--threads",
            "3",
            "--device",
            "/dev/my_rng4",
            "--mmio-device",
            "my_rng5",
            "--own-virtio-rng",
            "0000:00:12.0",
            "--virtio-rng",
            "0000:00:10.0",
            "--vhost-user-rng",
            "0000:00:11.0",
            "--json",
            "--progress",
            "peer.getrandom",
        ];
        let expected = Arguments {
            options: Options { runs: 7, window: Duration::from_millis(10), json: true },
            threads: NonZeroUsize::new(3).unwrap(),
            device: "/dev/my_rng4".into(),
            mmio_device: "my_rng5".to_owned(),
            own_virtio_rng: Some("0000:00:12.0".to_owned()),
            virtio_rng: Some("0000:00:10.0".to_owned()),
            vhost_user_rng: Some("0000:00:11.0".to_owned()),
            rows: vec!["rng.read".to_owned(), "peer.getrandom".to_owned()],
            progress: true,
        };
        assert_eq!(parse(&words).unwrap(), expected);
        let expected = Arguments {
            options: Options { runs: 5, window: Duration::from_millis(400), json: false },
            threads: cpus(),
            device: "/dev/my_rng0".into(),
            mmio_device: "my_rng1".to_owned(),
            own_virtio_rng: None,
            virtio_rng: None,
            vhost_user_rng: None,
            rows: Vec::new(),
            progress: false,
        };
        assert_eq!(parse(&[]).unwrap(), expected);
    }

    #[test]
    fn mistakes_are_refused() {
        for words in [&["--runs", "0"][..], &["--window", "long"], &["--threads", "-1"], &["--fast"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        let error = parse(&["rng.magic"]).unwrap_err().to_string();
        assert!(
            error.contains("'rng.magic'") && error.contains("possible values: rng.ioctl_rand32,"),
            "{error}"
        );
    }

    #[test]
    fn the_help_names_every_row_and_fits_a_terminal() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        assert!(rows::ALL.iter().all(|row| help.contains(row.name)), "{help}");
    }
}
