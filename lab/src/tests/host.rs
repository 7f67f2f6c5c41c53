// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests that need no machine: `cargo test` of the whole workspace, and of Exo-Kernel's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Report;
use crate::context::Context;
use crate::exo_kernel::{self, Profile};
use crate::process::{output, run_lines, run_lines_of_others};
use crate::programs::cargo;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// The name of the tests of Exo-Kernel's workspace.
pub(crate) const KERNEL: &str = "host::kernel";
/// The name of the test of what would be published.
pub(crate) const PACKAGES: &str = "host::packages_compile_from_their_tarballs";

/// How long a program of tests may say nothing before it counts as hanging. The longest pause of one that works is a build of a large crate, or
/// a test of half a minute.
const PATIENCE: Duration = Duration::from_secs(600);

/// What of Exo-Kernel needs no machine: its tests on the host, and its sources' order.
pub(crate) fn run_kernel(context: &Context, report: &mut Report) -> anyhow::Result<()> {
    let toolroot = Toolroot::get(context)?;
    let host_cargo = |arguments: &[&str]| {
        let mut command = cargo(context);
        command.current_dir(exo_kernel::workspace(context)).args(arguments);
        command.env("CARGO_TARGET_DIR", context.build().join("exo-kernel/host"));
        command
    };
    let tests = host_cargo(&["test", "--no-fail-fast"]);
    run_tests(tests, KERNEL, "Building and running Exo-Kernel's tests", report)?;
    let step = Step::new("Looking through Exo-Kernel's sources", None);
    report.case("host::kernel::the_sources_are_formatted", || {
        run_lines(&mut host_cargo(&["fmt", "--all", "--check"]), |line| step.message(line))
    })?;
    report.case("host::kernel::clippy_finds_nothing", || {
        let workshop = exo_kernel::Workshop::open(context, &toolroot, &step)?;
        let deny = ["--", "-D", "warnings"];
        let mut bare = workshop.bare_cargo(
            Profile::Optimised,
            &[
                "clippy",
                "-p",
                "exo-kernel",
                "-p",
                "exo-mm",
                "-p",
                "exo-vfs",
                "-p",
                "exo-fs",
                "-p",
                "exo-io",
                "-p",
                "exo-syscall",
                "-p",
                "exo-net",
                "-p",
                "exo-process",
                "-p",
                "exo-core",
                "-p",
                "exo-hal",
            ],
        )?;
        run_lines(bare.args(deny), |line| step.message(line))?;
        let mut hosted = workshop.cargo(&["clippy", "--all-targets"])?;
        run_lines(hosted.args(deny), |line| step.message(line))
    })?;
    step.done();
    let mut orders = host_cargo(&["test", "--no-fail-fast", "--release", "--test", "loom"]);
    orders.args(["--package", "exo-logic", "--package", "exo-queue"]);
    run_all_orders(context, orders, "host::kernel::loom", report)
}

/// Tests of `tests/loom.rs`, which try all orders in which threads can meet. They are built with a setting of their own, and thus in a
/// folder of their own.
fn run_all_orders(
    context: &Context,
    mut command: Command,
    group: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", context.build().join("loom"));
    run_tests(command, group, "Trying all orders in which threads can meet", report)
}

/// Runs them; each test that failed is reported under its own name, those that passed together.
pub(crate) fn run(context: &Context, report: &mut Report) -> anyhow::Result<()> {
    let mut command = cargo(context);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    run_tests(command, "host", "Building and running the host's tests", report)?;
    let mut orders = cargo(context);
    orders.args(["test", "--no-fail-fast", "--release", "--test", "loom", "--package", "my-rng-ring"]);
    run_all_orders(context, orders, "host::loom", report)?;
    run_with_oldest_rust(context, report)
}

/// The packages that others can build on compile from what would be published, each with the others as they would be.
pub(crate) fn build_packages(context: &Context, report: &mut Report) -> anyhow::Result<()> {
    /// In the order in which they would be published.
    const NAMES: [&str; 4] = ["my-rng-abi", "my-rng-ring", "my-rng-client", "vfio-user-server"];
    let target = context.build().join("packages");
    let step = Step::new("Compiling the packages from their tarballs", None);
    report.case(PACKAGES, || {
        let mut package = cargo(context);
        // `cargo package` would verify them with copies of an earlier run, as the versions are the same.
        package
            .args(["package", "--offline", "--allow-dirty", "--no-verify"])
            .env("CARGO_TARGET_DIR", &target);
        package.args(NAMES.iter().flat_map(|name| ["--package", *name]));
        run_lines(&mut package, |line| step.message(line))?;
        let folder = target.join("unpacked");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let mut manifest =
            "[workspace]\nresolver = \"3\"\nmembers = [\"*-*\"]\n\n[patch.crates-io]\n".to_owned();
        for name in NAMES {
            let tarball = newest_tarball(&target.join("package"), name)?;
            output(Command::new("tar").arg("-xzf").arg(&tarball).arg("-C").arg(&folder))?;
            let unpacked = tarball.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            manifest += &format!("{name} = {{ path = \"{unpacked}\" }}\n");
        }
        std::fs::write(folder.join("Cargo.toml"), manifest)?;
        // The versions of everything else are those of this workspace, and so at hand.
        std::fs::copy(context.checkout.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let mut check = cargo(context);
        check.current_dir(&folder).env("CARGO_TARGET_DIR", &target);
        check.args(["check", "--workspace", "--lib", "--bins", "--examples", "--offline"]);
        run_lines(&mut check, |line| step.message(line))
    })?;
    step.done();
    Ok(())
}

/// The tarball of a package.
fn newest_tarball(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = file.strip_prefix(name).and_then(|rest| rest.strip_suffix(".crate"));
        version.is_some_and(|version| version.starts_with("-0") || version.starts_with("-1"))
    };
    let tarballs = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).filter(is_it);
    let newest = tarballs.max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok());
    newest.with_context(|| format!("{}: no tarball of {name}", folder.display()))
}

/// The workspace compiles with the oldest Rust that its packages name, where rustup has that one.
fn run_with_oldest_rust(context: &Context, report: &mut Report) -> anyhow::Result<()> {
    const NAME: &str = "host::the_oldest_rust_compiles_it";
    if !report.wants("host") && !report.wants(NAME) {
        return Ok(());
    }
    let manifest: toml::Table = std::fs::read_to_string(context.checkout.join("Cargo.toml"))?.parse()?;
    let oldest = manifest["workspace"]["package"]["rust-version"].as_str().unwrap_or_default();
    let toolchains = output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let Some(toolchain) = toolchains.split_whitespace().find(|name| name.starts_with(oldest)) else {
        let why = format!("rustup has no {oldest} (`rustup toolchain install {oldest} --profile minimal`)");
        report.skip(NAME, &why);
        return Ok(());
    };
    let mut check = cargo(context);
    check.args(["check", "--workspace", "--lib", "--bins", "--examples"]);
    check.env("RUSTUP_TOOLCHAIN", toolchain).env("CARGO_TARGET_DIR", context.build().join("oldest-rust"));
    let step = Step::new(&format!("Compiling with Rust {oldest}"), None);
    report.case(NAME, || run_lines(&mut check, |line| step.message(line)))?;
    step.done();
    Ok(())
}

fn run_tests(mut command: Command, group: &str, what: &str, report: &mut Report) -> anyhow::Result<()> {
    let started = Instant::now();
    let step = Step::new(what, None);
    let (mut passed, mut failed) = (0, Vec::new());
    let mut details = String::new();
    let mut in_details = false;
    let ended = run_lines_of_others(&mut command, PATIENCE, |line| {
        step.message(line);
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            failed.push(name.to_owned());
        }
        // What the failed tests of one program said stands between these two lines.
        in_details = (in_details || line == "failures:") && !line.starts_with("test result: ");
        if in_details || line.starts_with("error") {
            details += &format!("{line}\n");
        }
        passed += passed_in(line).unwrap_or(0);
    });
    step.done();
    crate::interrupt::check()?;
    if passed > 0 {
        report.pass_many(group, passed, started.elapsed());
    }
    for name in &failed {
        report.fail(&format!("{group}::{name}"), "its output is below");
    }
    if let Err(error) = ended {
        let why = if details.is_empty() { format!("{error:#}") } else { format!("{details}{error:#}") };
        report.fail(&format!("{group}::cargo test"), &why);
    } else if passed == 0 {
        report.fail(&format!("{group}::cargo test"), "no test was run");
    }
    Ok(())
}

/// The number in `test result: ok. 12 passed; 0 failed; …`.
fn passed_in(line: &str) -> Option<usize> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    counts.split_once(" passed")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::passed_in;

    #[test]
    fn the_count_is_read_from_the_result_line() {
        assert_eq!(passed_in("test result: ok. 12 passed; 0 failed; 0 ignored"), Some(12));
        assert_eq!(passed_in("test result: FAILED. 3 passed; 1 failed; 0 ignored"), Some(3));
        assert_eq!(passed_in("test a ... ok"), None);
    }
}
