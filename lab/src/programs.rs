// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building the programs: the device, which runs on the host, and the static binaries, which run in the machines.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::context::Context;
use crate::process;
use crate::ui::Step;

/// The programs of the machines, as their packages are called.
const GUEST_PACKAGES: [&str; 11] = [
    "block-bench",
    "exo-tests",
    "guest-init",
    "guest-tests",
    "my-app",
    "net-bench",
    "procmon",
    "rng-bench",
    "rng-benchmark",
    "rng-dump",
    "syscall-bench",
];
/// glibc can be linked statically, and every Rust tool chain on a Linux host has this target.
const GUEST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The static programs.
#[derive(Debug, Clone)]
pub(crate) struct GuestPrograms {
    folder: PathBuf,
}

impl GuestPrograms {
    /// Builds them.
    pub(crate) fn build(context: &Context) -> anyhow::Result<Self> {
        let step = Step::new("Building the programs for the machines", None);
        let mut cargo = guest_cargo(context);
        cargo.args(GUEST_PACKAGES.iter().flat_map(|name| ["--package", name]));
        process::run(&mut cargo, &step)?;
        step.done();
        Ok(Self { folder: context.target.join(GUEST_TARGET).join("release") })
    }

    /// The first process of a machine.
    pub(crate) fn init(&self) -> PathBuf {
        self.folder.join("guest-init")
    }

    /// The tests inside machines.
    pub(crate) fn tests(&self) -> PathBuf {
        self.folder.join("guest-tests")
    }

    /// The programs that a person calls, with their names.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (&'static str, PathBuf)> + '_ {
        GUEST_PACKAGES
            .into_iter()
            .filter(|name| *name != "guest-init")
            .map(|name| (name, self.folder.join(name)))
    }
}

/// The command that builds static programs, without their names.
fn guest_cargo(context: &Context) -> Command {
    let mut cargo = cargo(context);
    cargo.args(["build", "--release", "--target", GUEST_TARGET]);
    // By environment, so that it applies to these binaries and not to the build scripts or the host's programs.
    cargo.env(
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
        "-C target-feature=+crt-static -C relocation-model=static",
    );
    // Machines start with a copy of them.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "true");
    cargo
}

/// Builds a static program that only some machines get, and returns its path.
pub(crate) fn build_guest(context: &Context, name: &str) -> anyhow::Result<PathBuf> {
    let step = Step::new(&format!("Building {name}"), None);
    process::run(guest_cargo(context).args(["--package", name]), &step)?;
    step.done();
    expect_file(context.target.join(GUEST_TARGET).join("release").join(name))
}

/// Builds the device process and returns its path.
pub(crate) fn build_device(context: &Context) -> anyhow::Result<PathBuf> {
    let step = Step::new("Building the device", None);
    process::run(cargo(context).args(["build", "--release", "--package", "my-rng-device"]), &step)?;
    step.done();
    Ok(context.target.join("release/my-rng-device"))
}

/// Builds a program that runs on the host, and returns its path.
pub(crate) fn build_host(context: &Context, name: &str) -> anyhow::Result<PathBuf> {
    let step = Step::new(&format!("Building {name}"), None);
    process::run(cargo(context).args(["build", "--release", "--package", name]), &step)?;
    step.done();
    expect_file(context.target.join("release").join(name))
}

/// Builds an example of a package, as the tests of the host do, and returns its path.
pub(crate) fn build_example(context: &Context, package: &str, name: &str) -> anyhow::Result<PathBuf> {
    let step = Step::new(&format!("Building the example {name}"), None);
    process::run(cargo(context).args(["build", "--package", package, "--example", name]), &step)?;
    step.done();
    expect_file(context.target.join("debug/examples").join(name))
}

/// The cargo that runs this program.
pub(crate) fn cargo(context: &Context) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&context.checkout).env("CARGO_TARGET_DIR", &context.target);
    command
}

/// Checks that a file that a build should have made is there.
pub(crate) fn expect_file(path: PathBuf) -> anyhow::Result<PathBuf> {
    std::fs::metadata(&path).with_context(|| format!("the build did not make {}", path.display()))?;
    Ok(path)
}
