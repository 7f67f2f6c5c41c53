// SPDX-License-Identifier: MIT OR Apache-2.0
//! One file for each command of `cargo exo`.

mod bench;
mod doctor;
mod kmod;
mod run;
mod shell;
mod side_by_side;
mod test;
mod vm;

use anyhow::{Context as _, ensure};

use crate::cli::{Cli, Command, KernelKind, MachineArgs};
use crate::context::Context;
use crate::exo_kernel::Profile;
use crate::kernel::{Choice, Kernel, checked};
use crate::machine::{CHECKED_MEMORY, Config, Linux, Network, Parts, System, disk, network};
use crate::programs::{self, GuestPrograms};
use crate::toolroot::Toolroot;
use crate::{disk_space, exo_kernel, interrupt, kmod as kmod_builder, sandbox, ui};

/// Runs what the command line asks for and returns the exit status.
pub(crate) fn run(cli: Cli) -> anyhow::Result<i32> {
    // The stages of a sandbox are processes of their own: no threads, no signal handlers.
    match &cli.command {
        Command::InternalSandbox(args) => return sandbox::unshare(&args.layout, &args.folder, &args.command),
        Command::InternalSandboxInit(args) => {
            return sandbox::init(&args.layout, &args.folder, &args.command);
        }
        _ => {}
    }
    ui::set_verbose(cli.verbose);
    interrupt::install()?;
    let context = Context::find()?;
    if !matches!(cli.command, Command::Doctor) {
        for room in disk_space::low(&context) {
            let (free, folder) = (room.free, room.folder.display());
            ui::note(&format!(
                "only {free} MiB are free in {folder}: `cargo exo doctor` tells how much is needed"
            ));
        }
    }
    match cli.command {
        Command::Run(args) => run::run(&context, &args),
        Command::Test(args) => test::run(&context, &args),
        Command::Shell(args) => shell::run(&context, args),
        Command::Vm(args) => vm::run(&context, args),
        Command::Bench(args) => bench::run(&context, &args),
        Command::Kmod(args) => kmod::run(&context, &args),
        Command::Doctor => doctor::run(&context),
        Command::InternalSandbox(_) | Command::InternalSandboxInit(_) => Ok(0),
    }
}

/// The kernels that machines of this kind can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    /// Debian's own.
    Stock,
    /// The same source with the kernel's detectors.
    Checked,
    /// Exo-Kernel, built like this.
    Exo(Profile),
}

/// The kernel of a machine, and whether it takes this project's modules.
#[derive(Debug)]
struct Wanted {
    build: Build,
    /// What `uname -r` shall say, if somebody has named it.
    release: Option<String>,
    /// Whether a module that does not build for that kernel is an error: where nobody loads it, another one's module may be what counts.
    needs_modules: bool,
}

/// Gets and builds all that machines with this kernel need.
fn prepare(context: &Context, build: Build) -> anyhow::Result<Parts> {
    prepare_wanted(context, &Wanted { build, release: None, needs_modules: true })
}

fn prepare_wanted(context: &Context, wanted: &Wanted) -> anyhow::Result<Parts> {
    let choice = Choice::of(wanted.release.as_deref())?;
    let toolroot = Toolroot::get(context)?;
    if let Build::Exo(profile) = wanted.build {
        let kernel = exo_kernel::build(context, &toolroot, profile)?;
        return with_programs(context, toolroot, System::Exo(kernel));
    }
    let stock = Kernel::stock(context, &toolroot, choice)?;
    let is_checked = wanted.build == Build::Checked;
    let kernel = if is_checked { checked::get(context, &toolroot, &stock)? } else { stock };
    let modules = match kmod_builder::build_ours(context, &toolroot, &kernel) {
        Err(error) if !wanted.needs_modules => {
            ui::note(&format!("this project's modules are not in the machine: {error:#}"));
            Vec::new()
        }
        built => built?,
    };
    with_programs(context, toolroot, System::Linux(Linux { kernel, modules }))
}

/// The same for the checked kernel, but only if it is built already.
fn find_checked(context: &Context) -> anyhow::Result<Option<Parts>> {
    let toolroot = Toolroot::get(context)?;
    let stock = Kernel::stock(context, &toolroot, Choice::Newest)?;
    let found = checked::find(context, &toolroot, &stock)?;
    found.map(|kernel| prepare_for(context, toolroot, kernel)).transpose()
}

fn prepare_for(context: &Context, toolroot: Toolroot, kernel: Kernel) -> anyhow::Result<Parts> {
    let modules = kmod_builder::build_ours(context, &toolroot, &kernel)?;
    with_programs(context, toolroot, System::Linux(Linux { kernel, modules }))
}

/// What machines with that kernel have besides.
fn with_programs(context: &Context, toolroot: Toolroot, system: System) -> anyhow::Result<Parts> {
    let programs = GuestPrograms::build(context)?;
    let device = programs::expect_file(programs::build_device(context)?)?;
    Ok(Parts { context: context.clone(), toolroot, system, programs, device })
}

/// The machine that the command line describes, and the kernel that it runs. What is wrong with it is said before anything is built.
fn machine(args: MachineArgs) -> anyhow::Result<(Wanted, Config)> {
    let build = match args.kernel {
        KernelKind::Linux => {
            ensure!(!args.optimised, "--optimised: Debian builds Linux; this is for --kernel exo");
            if args.checked { Build::Checked } else { Build::Stock }
        }
        KernelKind::Exo => {
            ensure!(
                args.kernel_release.is_none(),
                "--kernel-release: Exo-Kernel is this checkout's own; this is for --kernel linux"
            );
            ensure!(
                !(args.checked && args.optimised),
                "--checked and --optimised: each is a build of its own"
            );
            ensure!(!args.no_modules, "--no-modules: Exo-Kernel has no modules that could be left out");
            Build::Exo(match (args.optimised, args.checked) {
                (true, _) => Profile::Optimised,
                (_, true) => Profile::Checked,
                _ => Profile::Quick,
            })
        }
    };
    disk::check(&args.disks)?;
    network::check(&args.forwards)?;
    for (host, _) in &args.files {
        std::fs::metadata(host).with_context(|| format!("--file: cannot copy {}", host.display()))?;
    }
    let is_checked_linux = build == Build::Checked;
    let config = Config {
        accel: args.accel,
        smp: args.smp,
        memory: args.memory.unwrap_or(if is_checked_linux {
            CHECKED_MEMORY
        } else {
            Config::default().memory
        }),
        rng: args.rng.unwrap_or(Config::default().rng),
        personality: args.personality,
        disks: args.disks,
        network: (args.net || !args.forwards.is_empty()).then_some(Network::User(args.forwards)),
        files: args.files,
        packages: args.packages,
        append: args.append,
        qemu_args: args.qemu_args,
        load_modules: !args.no_modules,
        final_check: is_checked_linux,
        ..Config::default()
    };
    let wanted = Wanted { build, release: args.kernel_release, needs_modules: !args.no_modules };
    Ok((wanted, config))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn described(words: &[&str]) -> anyhow::Result<(Wanted, Config)> {
        let words = [&["cargo exo", "vm"], words, &["--", "true"]].concat();
        let Command::Vm(args) = Cli::try_parse_from(words)?.command else { unreachable!("it says vm") };
        machine(args.machine)
    }

    #[test]
    fn both_kernels_have_a_checked_kind() {
        let (wanted, config) = described(&["--kernel", "exo", "--checked"]).unwrap();
        assert_eq!(wanted.build, Build::Exo(Profile::Checked));
        assert!(!config.final_check, "what Linux is asked at the end");
        let (wanted, config) = described(&["--checked"]).unwrap();
        assert!(wanted.build == Build::Checked && config.final_check);
        assert!(described(&["--kernel", "exo", "--checked", "--optimised"]).is_err());
    }

    #[test]
    fn files_that_are_not_there_are_named_at_once() {
        for words in [["--disk", "nvme=/no/such.img"], ["--file", "/no/such:/there"]] {
            let error = format!("{:#}", described(&words).unwrap_err());
            assert!(error.contains("/no/such"), "{error}");
        }
        let error = described(&["--disk=ahci=/dev/null"]).unwrap_err();
        assert!(error.to_string().contains("it is no file"), "{error}");
    }

    #[test]
    fn a_forwarded_port_brings_the_network_card_along() {
        assert_eq!(described(&[]).unwrap().1.network, None);
        assert_eq!(described(&["--net"]).unwrap().1.network, Some(Network::User(Vec::new())));
        // A port that is taken is named at once; one that is free brings the card.
        let holder = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let word = format!("--forward={port}:80");
        let error = described(&[&word]).unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} of the host is in use")), "{error}");
        let datagrams = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let (_, config) = described(&[&format!("--forward={datagrams}:53/udp")]).unwrap();
        let Some(Network::User(forwards)) = config.network else { panic!("no network") };
        assert_eq!((forwards[0].host, forwards[0].guest), (datagrams, 53));
    }

    #[test]
    fn what_is_no_port_is_refused_with_its_reason() {
        for (word, reason) in [("80", "HOST:GUEST"), ("0:80", "1 to 65535"), ("80:65536", "1 to 65535")] {
            let error = format!("{:#}", described(&["--forward", word]).unwrap_err());
            assert!(error.contains("--forward") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_release_is_of_linux() {
        let (wanted, _) = described(&["--kernel-release", "7.2.12+deb13-cloud-amd64"]).unwrap();
        assert_eq!(wanted.release.as_deref(), Some("7.2.12+deb13-cloud-amd64"));
        assert!(wanted.needs_modules);
        assert!(!described(&["--no-modules"]).unwrap().0.needs_modules);
        let error = described(&["--kernel", "exo", "--kernel-release", "7.2"]).unwrap_err();
        assert!(error.to_string().contains("--kernel-release: Exo-Kernel"), "{error}");
    }
}
