// SPDX-License-Identifier: MIT OR Apache-2.0
//! gdb, attached to a machine, knows the lines of a module that is loaded there. It is the host's own gdb: on a host without it these tests say so and
//! look at nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::Lab;
use super::module_life::forget;
use crate::cli::KmodKind;
use crate::kmod::{self, Options, new};
use crate::machine::{Config, Machine, Output};
use crate::process::output;
use crate::toolroot::{missing_package_advice, on_path};
use crate::ui;

/// Words of the script for gdb that stop the module where it stores what was written, tell where that is, and let it go on.
const STOP: &str = "break stopped.rs:LINE\ncontinue\nbacktrace 12\ndelete\ndetach\n";

/// The lines of a module by its own debug information and the addresses that the kernel tells of its sections.
pub(super) fn gdb_knows_the_lines_of_a_module(lab: &Lab) -> anyhow::Result<()> {
    stop_in_module(lab, |sections, module| {
        let section = |name: &str| {
            let address = sections.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            address.map(|address| format!(" -s {name} {address}")).unwrap_or_default()
        };
        let all: String = [".text", ".rodata", ".bss"].map(section).concat();
        Ok((format!("add-symbol-file {}{all}\n", module.display()), None))
    })
    .map(drop)
}

/// The same with the kernel's debug symbols and its own scripts, which find the module; the calls that led to it are the kernel's. It downloads 350 MB.
pub(super) fn gdb_finds_a_module_in_the_kernel(lab: &Lab) -> anyhow::Result<()> {
    let parts = &lab.parts;
    let said = stop_in_module(lab, |_, module| {
        let folder = module.parent().context("a module is in no folder")?;
        let vmlinux = parts.linux()?.kernel.debug_symbols(&parts.context, &parts.toolroot)?;
        Ok((format!("lx-symbols {}\nlx-lsmod\n", folder.display()), Some(vmlinux)))
    })?;
    let Some(said) = said else { return Ok(()) };
    for part in ["Module  ", "ksys_write (fd=", "fs/read_write.c:"] {
        ensure!(said.contains(part), "{part:?} is missing in what gdb said:\n{said}");
    }
    Ok(())
}

/// Loads a new module into a machine and has gdb stop in it. `symbols` gets the addresses of the module's sections, each as `NAME ADDRESS`, and the
/// module, and returns gdb's commands that make it known, and the kernel's own symbols if they are used. What gdb said, if there is one.
fn stop_in_module(
    lab: &Lab,
    symbols: impl FnOnce(&str, &Path) -> anyhow::Result<(String, Option<PathBuf>)>,
) -> anyhow::Result<Option<String>> {
    if !on_path("gdb") {
        ui::note(&format!("gdb is not there, so this is not tested: {}", missing_package_advice("gdb")));
        return Ok(None);
    }
    let parts = &lab.parts;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let module = new::make(&parts.context, &folder.path().join("stopped"), KmodKind::Misc)?;
    let source = std::fs::read_to_string(module.join("stopped.rs")).context("the module has no source")?;
    let line =
        source.lines().position(|line| line.contains("Ok(count)")).context("the template has changed")?;
    let built =
        kmod::build(&parts.context, &parts.toolroot, &parts.linux()?.kernel, &module, Options::default())?;
    let built = built.first().context("no module was built")?;

    let socket = folder.path().join("gdb");
    let config = Config {
        more_modules: vec![built.clone()],
        rng: 0,
        load_modules: false,
        append: vec!["nokaslr".into()],
        qemu_args: vec!["-gdb".into(), format!("unix:{},server=on,wait=off", socket.display())],
        ..lab.config()
    };
    let script = "insmod /lib/modules/exo/stopped.ko && cd /sys/module/stopped/sections && \
        for name in .*; do [ -f $name ] && echo $name $(cat $name); done; echo loaded; \
        while :; do echo text > /dev/stopped; sleep 0.1; done";
    let words = ["sh", "-c", script].map(str::to_owned);
    let mut machine = Machine::start(parts, &config, &words, Output::Capture)?;
    machine.wait_for("loaded")?;
    let (known, vmlinux) = symbols(&machine.stdout_so_far(), built)?;
    let commands = folder.path().join("commands");
    let stop = STOP.replace("LINE", &(line + 1).to_string());
    let target = format!("target remote {}\n", socket.display());
    std::fs::write(&commands, format!("set pagination off\nset confirm off\n{target}{known}{stop}"))
        .context("cannot write gdb's commands")?;
    let mut gdb = Command::new("timeout");
    gdb.args(["300", "gdb", "-nx", "-quiet", "-batch", "-iex"]);
    gdb.arg(format!("add-auto-load-safe-path {}", parts.context.cache.display()));
    gdb.arg("-x").arg(&commands).args(vmlinux).current_dir(folder.path());
    let said = output(&mut gdb)?;
    let stopped = format!("stopped.rs:{}", line + 1);
    ensure!(
        said.lines().any(|line| line.starts_with("#0") && line.ends_with(&stopped)),
        "gdb has not stopped at {stopped}:\n{said}"
    );
    forget(lab, &module)?;
    Ok(Some(said))
}
