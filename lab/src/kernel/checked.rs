// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checked kernel: the stock kernel's source, built with clang and the kernel's own detectors.
//!
//! `lab/kernels/checked.config` says which detectors and why; `lab/kernels/README.md` tells how it is booted and how its
//! reports are read. It is built once for a definition and source, like the tool tree.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::{Kernel, jobs};
use crate::context::{Context, remove_folder, write_whole};
use crate::lock::Lock;
use crate::process;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// clang must be of the LLVM version that rustc was built with, since KASAN instruments both languages alike.
pub(super) const LLVM: &str = "LLVM=-19";
/// Written last into a finished build.
const STAMP: &str = "checked.json";
/// Objects that a build of this configuration compiles, for the progress shown. An estimate: it decides nothing.
const USUAL_OBJECTS: u64 = 2200;

/// What the kernel's command line needs besides the console: `lab/kernels/README.md` says why.
const BOOT_OPTIONS: [&str; 3] = ["oops=panic", "slab_debug=F", "no5lvl"];

/// The checked kernel beside `stock`, if the cache has it.
pub(crate) fn find(context: &Context, toolroot: &Toolroot, stock: &Kernel) -> anyhow::Result<Option<Kernel>> {
    let place = place(context, toolroot, stock)?;
    Ok(place.join(STAMP).is_file().then(|| kernel(stock, &place)))
}

/// The same; built first if the cache does not have it.
pub(crate) fn get(context: &Context, toolroot: &Toolroot, stock: &Kernel) -> anyhow::Result<Kernel> {
    ensure!(
        stock.tools.is_none(),
        "Linux {} is built with the compilers of Debian's next release, for which there is no checked kernel",
        stock.release
    );
    let place = place(context, toolroot, stock)?;
    if !place.join(STAMP).is_file() {
        let _lock = Lock::take(&context.cache_lock("checked"), "builds the checked kernel")?;
        if !place.join(STAMP).is_file() {
            // What an interrupted build has made is used: make knows what is complete.
            build(context, toolroot, stock, &place)?;
        }
    }
    Ok(kernel(stock, &place))
}

fn place(context: &Context, toolroot: &Toolroot, stock: &Kernel) -> anyhow::Result<PathBuf> {
    let mut hash = Sha256::new();
    hash.update(config(context, stock)?);
    hash.update(toolroot.path().as_os_str().as_encoded_bytes());
    let key: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Ok(stock.place.join(format!("checked-{key}")))
}

/// What is answered to Kconfig: `checked.config`, and what only this series asks besides.
fn config(context: &Context, stock: &Kernel) -> anyhow::Result<String> {
    let folder = context.checkout.join("lab/kernels");
    let mut config = std::fs::read_to_string(folder.join("checked.config"))
        .context("cannot read lab/kernels/checked.config")?;
    let series = folder.join(format!("checked-{}.config", stock.series()));
    if series.is_file() {
        config +=
            &std::fs::read_to_string(&series).with_context(|| format!("cannot read {}", series.display()))?;
    }
    Ok(config)
}

fn kernel(stock: &Kernel, place: &Path) -> Kernel {
    Kernel {
        release: format!("{}-checked", stock.release.split(['+', '-']).next().unwrap_or_default()),
        place: stock.place.clone(),
        image: place.join("arch/x86/boot/bzImage"),
        build: place.to_path_buf(),
        modules: None,
        make_variables: vec![LLVM.to_owned()],
        boot_options: BOOT_OPTIONS.map(str::to_owned).to_vec(),
        folders: Vec::new(),
        tools: None,
    }
}

fn build(context: &Context, toolroot: &Toolroot, stock: &Kernel, place: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(place).with_context(|| format!("cannot create {}", place.display()))?;
    let source = stock.place.join("source");
    let make = || -> anyhow::Result<std::process::Command> {
        let mut command = toolroot.command("make", &source)?;
        command.arg(format!("O={}", place.display())).arg(LLVM).arg(format!("-j{}", jobs()));
        Ok(command)
    };
    let step = Step::new(
        "Building the checked kernel (KASAN, lockdep, kmemleak, fault injection)",
        Some(Duration::from_secs(12 * 60 / jobs() as u64)),
    );
    let wanted = config(context, stock)?;
    let answers = place.join("answers.config");
    std::fs::write(&answers, &wanted).context("cannot write the kernel's configuration")?;
    process::run(make()?.arg(format!("KCONFIG_ALLCONFIG={}", answers.display())).arg("allnoconfig"), &step)?;
    let got = std::fs::read_to_string(place.join(".config")).context("the kernel was not configured")?;
    check_config(&wanted, &got)?;

    let mut objects = 0;
    process::run_lines(make()?.args(["bzImage", "modules"]), |line| {
        objects += 1;
        let percent = (objects * 100 / USUAL_OBJECTS).min(99);
        step.message(&format!("{percent} % {line}"));
    })?;
    prune(place)?;
    write_whole(&place.join(STAMP), b"{}\n")?;
    step.done();
    Ok(())
}

/// Kconfig drops an answer whose conditions are not met without a word, and with it a detector.
fn check_config(wanted: &str, got: &str) -> anyhow::Result<()> {
    let is_answer = |line: &&str| {
        line.starts_with("CONFIG_") || (line.starts_with("# CONFIG_") && line.ends_with(" is not set"))
    };
    let has = |line: &str| {
        let name = line.trim_start_matches("# ").split(['=', ' ']).next().unwrap_or_default();
        // An option that does not exist under these conditions is as good as one that is off.
        got.lines().any(|found| found == line)
            || (line.starts_with('#') && !got.lines().any(|found| found.starts_with(&format!("{name}="))))
    };
    let lost: Vec<&str> = wanted.lines().filter(is_answer).filter(|line| !has(line)).collect();
    if lost.is_empty() {
        return Ok(());
    }
    bail!(
        "lab/kernels/checked.config asks for what this kernel's Kconfig does not grant: {}",
        lost.join(", ")
    )
}

/// Leaves what booting and building modules need: a tenth of it all.
fn prune(place: &Path) -> anyhow::Result<()> {
    const KEPT: [&str; 9] =
        ["Makefile", "source", ".config", "Module.symvers", "include", "arch", "scripts", "tools", "rust"];
    for entry in std::fs::read_dir(place).context("cannot list the kernel's build")?.flatten() {
        let kept = KEPT.iter().any(|name| entry.file_name() == *name);
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match (kept, is_folder) {
            (true, true) => remove_objects(&entry.path())?,
            (true, false) => {}
            (false, true) => remove_folder(&entry.path())?,
            (false, false) => {
                std::fs::remove_file(entry.path()).context("cannot remove a file of the kernel's build")?
            }
        }
    }
    Ok(())
}

fn remove_objects(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).context("cannot list the kernel's build")?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_objects(&path)?;
        } else if path.extension().is_some_and(|ending| ending == "o" || ending == "a") {
            std::fs::remove_file(&path).context("cannot remove an object of the kernel's build")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_config;

    #[test]
    fn a_dropped_detector_is_an_error() {
        let wanted = "# a comment\nCONFIG_KASAN=y\n# CONFIG_SLUB_TINY is not set\n";
        assert!(check_config(wanted, "CONFIG_KASAN=y\nCONFIG_X=y\n").is_ok());
        assert!(check_config(wanted, "CONFIG_X=y\n").unwrap_err().to_string().contains("CONFIG_KASAN=y"));
        assert!(check_config(wanted, "CONFIG_KASAN=y\nCONFIG_SLUB_TINY=y\n").is_err());
    }
}
