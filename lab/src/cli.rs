// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

mod kmod;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::machine::{Accel, Disk, Forward, Personality};

pub(crate) use kmod::{
    KmodArgs, KmodBuildArgs, KmodDkmsArgs, KmodKernelArgs, KmodKind, KmodModulesArgs, KmodStep,
};

/// Builds, runs, tests and measures Exo: a PCI random-number device, its Linux driver in Rust, and the programs that use
/// them.
///
/// The tools that a host usually lacks (QEMU with vfio-user, Debian's kernel and the one rustc that matches it) are
/// kept in a private tree under ~/.cache/exo (EXO_CACHE says another place). Nothing on the host is changed.
#[derive(Debug, Parser)]
#[command(name = "cargo exo", bin_name = "cargo exo", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Show the commands that are run, their output, and the machine's console
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything from a fresh checkout to the programs' output, with a summary
    Run(RunArgs),
    /// All tests: on the host and in machines
    Test(TestArgs),
    /// An interactive machine on this terminal; leave it with `exit` or Ctrl-A X
    Shell(ShellArgs),
    /// One command in a fresh machine
    ///
    /// The command's stdout comes on stdout, everything else on stderr, and the exit status is the command's. 124 means
    /// that the time was up, 125 that the machine failed. Input that is not a terminal is passed on.
    Vm(VmArgs),
    /// Measure, peers side by side in the same run
    Bench(BenchArgs),
    /// Kernel modules for a Debian kernel: build them and print the paths of the .ko files; make, check, test, document, sign one
    ///
    /// Works for any Rust or C module: Debian's headers lack the metadata of the kernel's Rust crates, and this command
    /// makes it again from the kernel's source, checked against the symbols that the kernel exports.
    Kmod(KmodArgs),
    /// What is missing or slow on this host, and the command that mends each
    Doctor,
    /// First stage of a sandbox (internal)
    #[command(hide = true)]
    InternalSandbox(SandboxArgs),
    /// Second stage of a sandbox (internal)
    #[command(hide = true)]
    InternalSandboxInit(SandboxArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    pub(crate) layout: String,
    pub(crate) folder: PathBuf,
    #[arg(last = true)]
    pub(crate) command: Vec<OsString>,
}

/// The kernel that a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KernelKind {
    /// Debian's own
    Linux,
    /// Exo-Kernel, this project's
    Exo,
}

#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// The kernel to run
    #[arg(long, value_enum, default_value = "linux")]
    pub(crate) kernel: KernelKind,

    /// Another Debian kernel, as its `uname -r` says; by default the newest of the series in lab/toolroot.toml
    ///
    /// It is downloaded, and the project's modules are built for it.
    #[arg(long, value_name = "RELEASE")]
    pub(crate) kernel_release: Option<String>,

    /// Run the checked kernel: Linux of the same source with KASAN, lockdep, kmemleak and fault injection; Exo-Kernel with checks of its locks
    ///
    /// A report of any of them is shown whole and ends the command with 125. The first use builds this kernel.
    #[arg(long)]
    pub(crate) checked: bool,

    /// Exo-Kernel as it is tested and measured: optimised as one piece, which takes half a minute to build
    ///
    /// Without it, a build that follows a changed line in seconds and is a little slower in what it runs.
    #[arg(long)]
    pub(crate) optimised: bool,

    /// How to run the guest; by default KVM where a probe machine really ran with it, else emulation
    #[arg(long, value_enum)]
    pub(crate) accel: Option<Accel>,

    /// Number of random-number devices; by default 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=16))]
    pub(crate) rng: Option<u32>,

    /// What the random-number devices are to the machine; Linux's own driver for virtio is loaded
    #[arg(long, value_enum, default_value_t)]
    pub(crate) personality: Personality,

    /// Number of virtual processors
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) smp: u32,

    /// Memory in MiB; by default 512, and 1024 for the checked kernel
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..=1_048_576))]
    pub(crate) memory: Option<u32>,

    /// Attach a disk: ahci, nvme or virtio with a raw image, or ram with a size in MiB; repeatable
    ///
    /// The machine writes to the image. Exo-Kernel calls its disks /dev/disk0, /dev/disk1, …; Linux calls them /dev/sda,
    /// /dev/nvme0n1 and /dev/vda. A RAM disk is the last disk on Exo-Kernel, and /dev/ram0 on Linux.
    #[arg(long = "disk", value_name = "DRIVER=PATH[,SERIAL]")]
    pub(crate) disks: Vec<Disk>,

    /// Attach a network card (virtio), with a way out through this host
    ///
    /// It is eth0 with 10.0.2.15 when the command starts. The host is 10.0.2.2, so a server that listens on this host's
    /// 127.0.0.1:8000 is 10.0.2.2:8000 in the machine; names are looked up as the host does it. Nobody can connect to the
    /// machine but through --forward. QEMU answers for the network: it needs no rights, and changes nothing on the host.
    #[arg(long)]
    pub(crate) net: bool,

    /// Lead a port of this host's 127.0.0.1 to one in the machine; implies --net; repeatable
    ///
    /// 8080:80 leads what connects to 127.0.0.1:8080 to the machine's port 80; 5353:53/udp does so with datagrams. Other
    /// computers cannot reach the host's port. The machine's program has to listen on 0.0.0.0 or 10.0.2.15, not on 127.0.0.1.
    #[arg(long = "forward", value_name = "HOST:GUEST[/udp]")]
    pub(crate) forwards: Vec<Forward>,

    /// Copy a file or folder into the machine; repeatable
    #[arg(long = "file", value_name = "HOST:GUEST", value_parser = parse_file)]
    pub(crate) files: Vec<(PathBuf, PathBuf)>,

    /// Unpack a package of Debian in the machine, with what it depends on; repeatable
    ///
    /// Its programs are in /usr/bin and /usr/sbin. Nothing is configured: scripts that an installation would run are not.
    #[arg(long = "package", value_name = "NAME", value_parser = parse_package)]
    pub(crate) packages: Vec<String>,

    /// Carry the project's modules in /lib/modules/exo, but do not load them
    #[arg(long)]
    pub(crate) no_modules: bool,

    /// Words for the kernel's command line; repeatable
    #[arg(long = "append", value_name = "WORDS")]
    pub(crate) append: Vec<String>,

    /// An argument for QEMU; repeatable
    #[arg(long = "qemu-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) qemu_args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VmArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// Stop the machine after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) timeout: Option<Duration>,

    /// Write how the machine ended as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// The command, with its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// The folder that the machine sees as /host; by default the one with this checkout's modules (Linux only)
    #[arg(long, value_name = "FOLDER")]
    pub(crate) share: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Numbers of each kind that the benchmark draws
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) draws: u32,

    /// Exo-Kernel as it is tested and measured: optimised as one piece, which takes half a minute to build
    ///
    /// Without it, a build that follows a changed line in seconds and is a little slower in what it runs.
    #[arg(long)]
    pub(crate) optimised: bool,

    /// How to run the guest; by default KVM where it works, else emulation
    #[arg(long, value_enum)]
    pub(crate) accel: Option<Accel>,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only tests whose name contains one of these; the tests inside machines have their own names: inside::my_rng::…
    pub(crate) filter: Vec<String>,

    /// Test the modules on the checked kernel, which is built first if need be, instead of all else
    #[arg(long)]
    pub(crate) checked: bool,

    /// A few tests that show whether this user can build a module and run machines here, instead of all: some minutes where nothing is made yet
    #[arg(long, conflicts_with_all = ["checked", "filter", "long", "dkms", "series"])]
    pub(crate) smoke: bool,

    /// Test packages for DKMS in a Debian system made for it, instead of all else: a quarter of an hour or more, 8 GB, root only
    #[arg(long, conflicts_with = "checked")]
    pub(crate) dkms: bool,

    /// Test modules on Debian's other kernels (another series, its next release, the release candidate), instead of all else
    ///
    /// With --checked, on the checked kernel of each other series. The kernels are downloaded, and tools where they need other ones.
    #[arg(long, conflicts_with_all = ["dkms", "long"])]
    pub(crate) series: bool,

    /// Repeat what comes and goes a thousand times, instead of twenty times, and run the tests that take long: best with a
    /// filter
    #[arg(long)]
    pub(crate) long: bool,

    /// How many tests have their machines at the same time; by default one for each processor, at most 4
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Name the tests and stop
    #[arg(long)]
    pub(crate) list: bool,

    /// How to run the machines; by default KVM where it works, else emulation
    #[arg(long, value_enum)]
    pub(crate) accel: Option<Accel>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(default_value = "all", value_name = "SUITE", value_parser = PossibleValuesParser::new(crate::bench::suite_names()))]
    pub(crate) suite: String,

    /// Count instructions in place of time: exact, and the same on any host, for `syscall` alone
    #[arg(long, conflicts_with_all = ["accel", "smp", "window"])]
    pub(crate) instructions: bool,

    /// Write the figures, and what they were measured on, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Draw each suite's figures as SVG and PNG into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) plot: Option<PathBuf>,

    /// How often each row is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,

    /// Length of each measurement in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) window: u64,

    /// Numbers of virtual processors; each gets a machine
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) smp: Vec<u32>,

    /// How to run the machines; by default KVM where it works, else emulation
    #[arg(long, value_enum)]
    pub(crate) accel: Option<Accel>,
}

/// A name as Debian's packages have them: nothing that apt would take for an option.
fn parse_package(text: &str) -> Result<String, String> {
    let is_of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_of_a_name) {
        Ok(text.to_owned())
    } else {
        Err("no package of Debian has a name like this".to_owned())
    }
}

fn parse_file(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let (host, guest) = text.rsplit_once(':').ok_or("expected HOST:GUEST, such as ./a.out:/bin/a.out")?;
    if host.is_empty() {
        return Err("the path on the host is missing; expected HOST:GUEST".to_owned());
    }
    if !guest.starts_with('/') {
        return Err(format!(
            "{guest:?} is no absolute path in the machine; expected HOST:GUEST, such as ./a.out:/bin/a.out"
        ));
    }
    if guest.split('/').any(|part| part == "..") {
        return Err(format!("{guest:?} must not contain `..`"));
    }
    Ok((host.into(), guest.into()))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.parse().map_err(|_| "expected a number of seconds, such as 30 or 2.5".to_owned())?;
    if !(seconds > 0.0 && seconds <= 1e6) {
        return Err("expected a number of seconds above 0 and at most 1000000".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn packages_have_names_and_are_no_options() {
        assert!(
            ["redis-server", "libstdc++6", "7zip", "python3.13"].iter().all(|it| parse_package(it).is_ok())
        );
        assert!(["", "-y", "Redis", "a b", "a=1", "../a"].iter().all(|it| parse_package(it).is_err()));
    }

    #[test]
    fn files_are_a_host_path_and_an_absolute_guest_path() {
        assert_eq!(parse_file("a:b:/c").unwrap(), ("a:b".into(), "/c".into()));
        for wrong in ["a", "a:", "a:b", ":/b", "a:/b/../c"] {
            assert!(parse_file(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_are_positive() {
        assert_eq!(parse_seconds("2.5").unwrap(), Duration::from_millis(2500));
        for wrong in ["0", "-1", "x", "nan", "inf", ""] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_after_the_dashes_are_the_command() {
        let cli = Cli::try_parse_from(["cargo exo", "vm", "--rng", "2", "--", "sh", "-c", "exit 7"]).unwrap();
        let Command::Vm(args) = cli.command else { panic!("not vm") };
        assert_eq!(args.command, ["sh", "-c", "exit 7"]);
        assert_eq!((args.machine.rng, args.machine.kernel), (Some(2), KernelKind::Linux));
    }
}
