// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::num::NonZero;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand, ValueEnum};
use log::LevelFilter;
use my_rng_abi::registers::DEFAULT_SEED;

use crate::control::protocol::{LogLevel, parse_limit};
use crate::generators::Kind;
use crate::limiter::{Limits, NoRate, Rate, parse_bytes};
use crate::sandbox::Mode;
use crate::shared::{InterruptKind, Personality};
use crate::stream::PowerOn;
use crate::workers;

/// A PCI random-number device for virtual machines.
///
/// Each socket is one device, which a virtual machine monitor attaches over vfio-user. The device is for one machine at a
/// time; when that has gone, the next one can attach and finds the device as new. The word "ready" on standard output says
/// that all sockets can be connected to. SIGTERM and SIGINT end the program and remove the sockets.
#[derive(Debug, Clone, Parser)]
#[command(version, after_long_help = AFTER_HELP, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Options {
    /// Something else than to serve devices
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Listen on the UNIX socket PATH; can be given several times, for one device each
    ///
    /// A socket that nobody listens on is replaced, one that is in use is refused.
    #[arg(
        long = "socket",
        value_name = "PATH",
        required_unless_present_any = ["activated", "max_devices"],
        conflicts_with = "activated"
    )]
    pub sockets: Vec<PathBuf>,

    /// Listen on the sockets that the service manager made (systemd's socket activation)
    ///
    /// The one with the name `control` (FileDescriptorName=) is the control socket, all others are devices in their order.
    #[arg(long, conflicts_with = "control", group = "control_socket")]
    pub activated: bool,

    /// Generator of the seedable stream
    #[arg(long, value_name = "NAME", default_value_t = Kind::default(), value_parser = generator_parser())]
    pub generator: Kind,

    /// Seed of the seedable stream at power-on and after a reset, decimal or 0x…
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEED, value_parser = parse_seed)]
    pub seed: u32,

    /// What the devices are to their guests
    #[arg(long, value_name = "NAME", value_enum, default_value_t)]
    pub personality: Personality,

    /// Offer the classic registers alone: no queues, no one-shot transfers, no interrupts
    ///
    /// QEMU 11.1 aborts when a vfio-user device with MSI-X is unplugged from a running machine. Machines that need hot-unplug
    /// take such a device, or one with MSI.
    #[arg(long, conflicts_with = "interrupts")]
    pub classic: bool,

    /// How the devices interrupt
    #[arg(long, value_name = "KIND", value_enum, default_value_t)]
    pub interrupts: InterruptKind,

    /// Worker threads of each device; they share its queues out among them [default: one for every two processors, at
    /// most 4]
    #[arg(long, value_name = "N")]
    workers: Option<NonZero<usize>>,

    /// Most bytes per second of each device, and how many may be saved up [default: a tenth of a second's worth]
    ///
    /// With k, M, G, T after a number for powers of 1000, Ki, Mi, Gi, Ti for powers of 1024. Queues and one-shot transfers wait;
    /// draws by register pass and count.
    #[arg(long, value_name = "N[:BURST]")]
    bytes_per_second: Option<Rate>,

    /// Most operations per second of each device: buffers, one-shot transfers, draws by register
    #[arg(long, value_name = "N[:BURST]")]
    operations_per_second: Option<Rate>,

    /// Bytes of each device that its limit does not hold back, once, from the start of the program
    #[arg(long, value_name = "N", value_parser = parse_bytes, requires = "bytes_per_second")]
    pub one_time_bytes: Option<u64>,

    /// Most bytes per second of all devices together
    #[arg(long, value_name = "N[:BURST]")]
    total_bytes_per_second: Option<Rate>,

    /// Most operations per second of all devices together
    #[arg(long, value_name = "N[:BURST]")]
    total_operations_per_second: Option<Rate>,

    /// Read limits from the TOML file PATH, and again on SIGHUP
    ///
    /// What it does not name is as the options say.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// Let devices be added while the program runs, up to so many in all
    ///
    /// `my-rng-device add` makes their sockets, and `my-rng-device remove` ends devices. There need be none at the start.
    #[arg(long, value_name = "N", requires = "control_socket", value_parser = clap::value_parser!(u16).range(1..=MAX_DEVICES))]
    pub max_devices: Option<u16>,

    /// Listen on the UNIX socket PATH for `my-rng-device status` and `my-rng-device limit`; only this user can connect
    #[arg(long, value_name = "PATH", group = "control_socket")]
    pub control: Option<PathBuf>,

    /// How long a monitor that can be asked to let go of a device has for that, at the end and when the device is removed
    ///
    /// It is asked by the interrupt that VFIO has for that, if it has assigned one. QEMU 11.1 does not.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60))]
    pub release: u64,

    /// What the program gives up once it serves: capabilities, files, system calls
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    pub sandbox: Mode,

    /// Say more on standard error: clients that come and go; twice: every refused request
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// What the program can do beside serving devices.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Measure how fast one worker fills memory, without a virtual machine
    Bench {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what the devices of a running program do
    Status {
        /// The running program's control socket
        #[arg(long, value_name = "PATH")]
        control: PathBuf,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Print it anew every so many seconds, until this is interrupted or the program ends
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
        watch: Option<u64>,
    },
    /// Change the limits of a running program
    Limit {
        /// The running program's control socket
        #[arg(long, value_name = "PATH")]
        control: PathBuf,
        /// Number of the device, from 0 on in the order of its command line [default: all]
        #[arg(long, value_name = "N")]
        device: Option<usize>,
        /// Bytes per second, or "none"
        #[arg(long, value_name = "N[:BURST]|none", value_parser = limit_text, required_unless_present = "operations_per_second")]
        bytes_per_second: Option<String>,
        /// Operations per second, or "none"
        #[arg(long, value_name = "N[:BURST]|none", value_parser = limit_text)]
        operations_per_second: Option<String>,
    },
    /// Have a running program serve one more device, on a new socket
    Add {
        /// The running program's control socket
        #[arg(long, value_name = "PATH")]
        control: PathBuf,
        /// The socket to be made, on which the device is to be found
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Have a running program end a device, whether a machine uses it or not
    Remove {
        /// The running program's control socket
        #[arg(long, value_name = "PATH")]
        control: PathBuf,
        /// Number of the device
        #[arg(long, value_name = "N", required_unless_present = "socket")]
        device: Option<usize>,
        /// Its socket
        #[arg(long, value_name = "PATH", conflicts_with = "device")]
        socket: Option<PathBuf>,
    },
    /// Change how much a running program logs
    Log {
        /// The running program's control socket
        #[arg(long, value_name = "PATH")]
        control: PathBuf,
        /// The least severe lines that are logged
        #[arg(value_enum)]
        level: LogLevel,
    },
    /// What this program starts to read its configuration
    #[command(hide = true)]
    ReadConfig {
        /// The file
        path: PathBuf,
        /// What to give up
        #[arg(long, value_enum, default_value_t)]
        sandbox: Mode,
    },
    /// Tell a running program that its host was cloned or restored: it takes new keys at once
    NewGeneration {
        /// The running program's control socket
        #[arg(long, value_name = "PATH")]
        control: PathBuf,
    },
}

/// How a status is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One line of JSON
    Json,
    /// Prometheus's text format
    Prometheus,
}

/// Finds mistakes before the running program is asked, which reads the text itself.
fn limit_text(text: &str) -> Result<String, NoRate> {
    parse_limit(text).map(|_| text.to_owned())
}

const AFTER_HELP: &str = "\
Exit status:
  0  ended by SIGTERM or SIGINT, after cleaning up
  1  could not start, or could not go on; the reason is on standard error
  2  the command line is wrong

Example, with QEMU 10.1 or later. Guest memory should be shared, so that the device can reach it:
  my-rng-device --socket /run/my-rng.sock &
  qemu-system-x86_64 -machine q35,memory-backend=m -m 1G \\
    -object memory-backend-memfd,id=m,size=1G,share=on \\
    -device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/run/my-rng.sock\"}}' …";

/// Most devices of a program: some 100 MB of threads and 150,000 descriptors, if all are in use.
pub const MAX_DEVICES: i64 = 256;

impl Options {
    /// How each device starts.
    pub fn power_on(&self) -> PowerOn {
        PowerOn {
            generator: self.generator,
            seed: self.seed,
            queues: !self.classic,
            interrupts: self.interrupts,
            personality: self.personality,
        }
    }

    /// Finds options that do not go together, beyond what their definitions say.
    ///
    /// # Errors
    /// Which.
    pub fn check(&self) -> Result<(), clap::Error> {
        let conflict = |text: &str| Err(Self::command().error(ErrorKind::ArgumentConflict, text));
        if self.max_devices.is_some_and(|most| self.sockets.len() > most.into()) {
            return conflict("there are more sockets than --max-devices");
        }
        match (self.personality, self.interrupts) {
            (Personality::Virtio, _) if self.classic => {
                conflict("a virtio device has no classic registers: --classic is for --personality native")
            }
            (Personality::Virtio, InterruptKind::Msi) => {
                conflict("a virtio device knows no MSI: --interrupts msix or intx")
            }
            (Personality::Native, InterruptKind::Intx) => {
                conflict("--interrupts intx is for --personality virtio: msix or msi")
            }
            _ => Ok(()),
        }
    }

    /// The limits of each device.
    pub fn limits(&self) -> Limits {
        Limits { bytes: self.bytes_per_second, operations: self.operations_per_second }
    }

    /// The limits of all devices together.
    pub fn total_limits(&self) -> Limits {
        Limits { bytes: self.total_bytes_per_second, operations: self.total_operations_per_second }
    }

    /// Worker threads of each device.
    pub fn workers(&self) -> NonZero<usize> {
        self.workers.unwrap_or_else(workers::default_count)
    }

    /// What is logged.
    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::Warn,
            1 => LevelFilter::Info,
            2 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        }
    }
}

fn generator_parser() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.iter().map(|(_, name, _)| *name)).try_map(|name| name.parse::<Kind>())
}

fn parse_seed(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| {
        format!("{error}; expected a number from 0 to {}, or 0x0 to {:#x}", u32::MAX, u32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["my-rng-device"], arguments].concat())
    }

    #[test]
    fn the_definition_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn one_socket_is_enough_and_several_are_allowed() {
        let options = parse(&["--socket", "/a"]).unwrap();
        assert_eq!(options.power_on(), PowerOn::default());
        assert_eq!(parse(&["--socket", "/a", "--socket=/b"]).unwrap().sockets.len(), 2);
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn devices_can_be_added_up_to_a_number_if_there_is_a_control_socket() {
        let with = |more: &[&str]| parse(&[&["--max-devices", "2"], more].concat());
        assert_eq!(with(&["--control", "/c"]).unwrap().max_devices, Some(2));
        assert!(with(&["--activated"]).is_ok(), "the manager may give one");
        assert!(with(&["--socket", "/a"]).unwrap_err().to_string().contains("--control"));
        let sockets =
            |count: usize| with(&[&["--control", "/c"], &["--socket=/a"].repeat(count)[..]].concat());
        assert!(sockets(2).unwrap().check().is_ok());
        assert!(sockets(3).unwrap().check().unwrap_err().to_string().contains("--max-devices"));
        for wrong in ["0", "257", "x"] {
            assert!(parse(&["--control", "/c", "--max-devices", wrong]).is_err(), "{wrong}");
        }
        assert!(parse(&["add", "--control", "/c", "--socket", "/a"]).is_ok());
        assert!(parse(&["remove", "--control", "/c", "--device", "0"]).is_ok());
        assert!(parse(&["remove", "--control", "/c"]).is_err());
        assert!(parse(&["remove", "--control", "/c", "--device", "0", "--socket", "/a"]).is_err());
    }

    #[test]
    fn there_is_at_least_one_worker() {
        assert!(parse(&["--socket", "/a"]).unwrap().workers().get() >= 1);
        assert_eq!(parse(&["--socket", "/a", "--workers", "3"]).unwrap().workers().get(), 3);
        assert!(parse(&["--socket", "/a", "--workers", "0"]).is_err());
    }

    #[test]
    fn limits_are_read_at_the_start_and_for_a_running_program() {
        assert_eq!(parse(&["--socket", "/a"]).unwrap().limits(), Limits::default());
        let options =
            parse(&["--socket", "/a", "--bytes-per-second", "1M:64Ki", "--operations-per-second=10"])
                .unwrap();
        let (bytes, operations) =
            (Rate { per_second: 1_000_000, burst: 65_536 }, Rate { per_second: 10, burst: 1 });
        assert_eq!(options.limits(), Limits { bytes: Some(bytes), operations: Some(operations) });
        let error = parse(&["--socket", "/a", "--bytes-per-second", "0"]).unwrap_err().to_string();
        assert!(error.contains("--bytes-per-second") && error.contains("expected"), "{error}");
        assert!(parse(&["limit", "--control", "/c", "--bytes-per-second", "none"]).is_ok());
        assert!(parse(&["limit", "--control", "/c", "--operations-per-second", "5:5"]).is_ok());
        let once = ["--socket", "/a", "--bytes-per-second", "1", "--one-time-bytes", "64Ki"];
        assert_eq!(parse(&once).unwrap().one_time_bytes, Some(65_536));
        assert!(parse(&["--socket", "/a", "--one-time-bytes", "1"]).is_err(), "there is no limit");
        for wrong in [&["limit", "--control", "/c"][..], &["limit", "--bytes-per-second", "1"]] {
            assert!(parse(wrong).is_err());
        }
        assert!(parse(&["limit", "--control", "/c", "--bytes-per-second", "x"]).is_err());
    }

    #[test]
    fn a_personality_has_its_own_interrupts() {
        let check = |arguments: &[&str]| parse(&[&["--socket", "/a"], arguments].concat()).unwrap().check();
        for right in [
            &["--personality", "virtio"][..],
            &["--personality", "virtio", "--interrupts", "intx"],
            &["--interrupts", "msi"],
            &["--classic"],
        ] {
            assert!(check(right).is_ok(), "{right:?}");
        }
        for wrong in [
            &["--personality", "virtio", "--interrupts", "msi"][..],
            &["--personality", "virtio", "--classic"],
            &["--interrupts", "intx"],
        ] {
            let error = check(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
            assert!(error.to_string().contains("--"), "{error}");
        }
    }

    #[test]
    fn seeds_are_decimal_or_hexadecimal() {
        for (text, seed) in [("0", 0), ("4294967295", u32::MAX), ("0xDeadBeef", 0xdead_beef)] {
            assert_eq!(parse(&["--socket", "/a", "--seed", text]).unwrap().seed, seed);
        }
        for text in ["4294967296", "-1", "0x", "0x100000000", "one", ""] {
            let error = parse(&["--socket", "/a", &format!("--seed={text}")]).unwrap_err().to_string();
            assert!(error.contains("--seed"), "{error}");
        }
    }

    #[test]
    fn an_unknown_generator_is_answered_with_the_known_ones() {
        let error = parse(&["--socket", "/a", "--generator", "dice"]).unwrap_err().to_string();
        assert!(error.contains("dice") && error.contains("glibc"), "{error}");
    }
}
