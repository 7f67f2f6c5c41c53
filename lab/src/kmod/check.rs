// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is a module as the kernel's maintainers want it: clippy with the kernel's lints, rustfmt with the kernel's style.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::{Options, build, folder_of, name_of};
use crate::context::Context;
use crate::kernel::Kernel;
use crate::process;
use crate::toolroot::Toolroot;

/// Checks the module of that folder; what is found is shown, and an error.
pub(crate) fn check(
    context: &Context,
    toolroot: &Toolroot,
    kernel: &Kernel,
    module: &Path,
    variables: &[String],
) -> anyhow::Result<()> {
    let module = folder_of(module)?;
    let formatted = check_format(toolroot, kernel, &module);
    build(context, toolroot, kernel, &module, Options { clippy: true, variables, ..Options::default() })?;
    formatted
}

/// Shows what rustfmt would change in each file, behind a line with the file's name. From stdin, as a file's name would bring all that it
/// includes with it.
const RUSTFMT: &str = "mark=$1 config=$2; shift 2; for file; do printf '%s%s\\n' \"$mark\" \"$file\"; \
    rustfmt --edition 2021 --check --color=never --config-path \"$config\" < \"$file\"; done; true";
/// Begins a line with a file's name.
const FILE: &str = "=== exo kmod check: ";

/// Checks the style of the Rust sources of that folder alone.
pub(crate) fn check_format(toolroot: &Toolroot, kernel: &Kernel, module: &Path) -> anyhow::Result<()> {
    let mut sources = Vec::new();
    collect(module, &mut sources)?;
    if sources.is_empty() {
        return Ok(());
    }
    let config =
        kernel.source().canonicalize().context("the kernel's source is missing")?.join(".rustfmt.toml");
    let mut rustfmt = toolroot.command_with("sh", module, &[module.to_path_buf()])?;
    rustfmt.args(["-c", RUSTFMT, "sh", FILE]).arg(config).args(&sources);
    // What is read from stdin ends well with differences, too: what counts is what was said.
    let (mut shown, mut file) = (String::new(), String::new());
    process::run_lines(&mut rustfmt, |line| match line.strip_prefix(FILE) {
        Some(name) => name.clone_into(&mut file),
        None => shown = format!("{shown}{}\n", line.replace("<stdin>", &file)),
    })?;
    if shown.is_empty() {
        return Ok(());
    }
    eprint!("{shown}");
    let name = name_of(module);
    bail!(
        "the module {name} is not in the kernel's style: see above; rustfmt with the kernel's .rustfmt.toml mends it"
    )
}

/// The Rust sources of a folder, what a build has left aside.
fn collect(folder: &Path, out: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .flatten()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().context("cannot tell a file's kind")?);
        if kind.is_dir() {
            collect(&path, out)?;
        } else if kind.is_file() && path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
    Ok(())
}
