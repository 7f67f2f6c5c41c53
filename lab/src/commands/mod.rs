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

use anyhow::ensure;

use crate::cli::{Cli, Command, KernelKind, MachineArgs};
use crate::context::Context;
use crate::exo_kernel::Profile;
use crate::kernel::{Choice, Kernel, checked};
use crate::machine::{CHECKED_MEMORY, Config, Linux, Parts, Personality, System};
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

/// Gets and builds all that machines with this kernel need.
fn prepare(context: &Context, build: Build) -> anyhow::Result<Parts> {
    let toolroot = Toolroot::get(context)?;
    if let Build::Exo(profile) = build {
        let kernel = exo_kernel::build(context, &toolroot, profile)?;
        return with_programs(context, toolroot, System::Exo(kernel));
    }
    let stock = Kernel::stock(context, &toolroot, Choice::Newest)?;
    let kernel = if build == Build::Checked { checked::get(context, &toolroot, &stock)? } else { stock };
    prepare_for(context, toolroot, kernel)
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

/// The machine that the command line describes, and the kernel that it runs.
fn machine(args: MachineArgs) -> anyhow::Result<(Build, Config)> {
    let build = match args.kernel {
        KernelKind::Linux => {
            ensure!(!args.optimised, "--optimised: Debian builds Linux; this is for --kernel exo");
            if args.checked { Build::Checked } else { Build::Stock }
        }
        KernelKind::Exo => {
            ensure!(!args.checked, "--checked is a kind of Linux: it cannot be had with --kernel exo");
            ensure!(
                args.personality == Personality::Native,
                "--personality virtio: Exo-Kernel has no driver for a virtio entropy device"
            );
            ensure!(!args.no_modules, "--no-modules: Exo-Kernel has no modules that could be left out");
            Build::Exo(if args.optimised { Profile::Optimised } else { Profile::Quick })
        }
    };
    let config = Config {
        accel: args.accel,
        smp: args.smp,
        memory: args.memory.unwrap_or(if args.checked { CHECKED_MEMORY } else { Config::default().memory }),
        rng: args.rng.unwrap_or(Config::default().rng),
        personality: args.personality,
        disks: args.disks,
        files: args.files,
        append: args.append,
        qemu_args: args.qemu_args,
        load_modules: !args.no_modules,
        final_check: args.checked,
        ..Config::default()
    };
    Ok((build, config))
}
