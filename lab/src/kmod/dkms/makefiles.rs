// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that only makefiles name: those that a Kbuild file includes from elsewhere, and those that it says are for other kernels than this one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::kernel::Kernel;
use crate::process::output;
use crate::toolroot::Toolroot;

/// The variable in which a makefile lists files that no build for this kernel reads.
const VARIABLE: &str = "package-files";

/// What the Kbuild file of `folder` includes and what it lists, as absolute paths. It is evaluated as Kbuild does, but nothing is built.
pub(super) fn named(
    toolroot: &Toolroot,
    kernel: &Kernel,
    folder: &Path,
    out: &Path,
    variables: &[String],
) -> anyhow::Result<BTreeSet<PathBuf>> {
    let kbuild = ["Kbuild", "Makefile"].into_iter().find(|name| folder.join(name).is_file());
    let Some(kbuild) = kbuild else { return Ok(BTreeSet::new()) };
    let series = kernel.series();
    let (version, patchlevel) = series.split_once('.').context("a kernel's series has two numbers")?;
    let mut make = kernel.make(toolroot, &[folder.to_path_buf(), out.to_path_buf()])?;
    make.arg("--silent").arg("-C").arg(folder);
    make.arg(format!("--eval=.PHONY: {GOAL}\n{GOAL}:\n\t$(foreach file,$(MAKEFILE_LIST) $({VARIABLE}),$(info {MARK}$(abspath $(file))))@:"));
    for (name, value) in [
        ("src", folder.display().to_string()),
        ("obj", out.display().to_string()),
        ("srctree", kernel.source().display().to_string()),
        ("objtree", kernel.build.display().to_string()),
        ("VERSION", version.to_owned()),
        ("PATCHLEVEL", patchlevel.to_owned()),
    ] {
        make.arg(format!("{name}={value}"));
    }
    make.args(variables);
    make.arg("-f").arg(kernel.build.join("include/config/auto.conf")).args(["-f", kbuild, GOAL]);
    let said =
        output(&mut make).with_context(|| format!("cannot evaluate {kbuild} in {}", folder.display()))?;
    let paths: BTreeSet<PathBuf> =
        said.lines().filter_map(|line| line.strip_prefix(MARK)).map(PathBuf::from).collect();
    for path in &paths {
        ensure!(
            path.is_file(),
            "{}/{kbuild} has {} in {VARIABLE}, which is no file",
            folder.display(),
            path.display()
        );
    }
    Ok(paths)
}

/// The goal that prints the files.
const GOAL: &str = "exo-package-files";
/// Begins a line with a file, as a Kbuild file may print lines of its own.
const MARK: &str = "exo-package-file: ";
