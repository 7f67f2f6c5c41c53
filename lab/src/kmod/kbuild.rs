// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a module's Kbuild file says besides what it has built: it is evaluated as Kbuild does, and nothing is built.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::kernel::Kernel;
use crate::process::output;
use crate::toolroot::Toolroot;

/// The variable in which a makefile lists files that no build for this kernel reads.
const PACKAGE_FILES: &str = "package-files";
/// The goal that is asked for.
const GOAL: &str = "exo-question";
/// Begins the answer, as a Kbuild file may print lines of its own.
const ANSWER: &str = "exo-answer:";

/// A module's folder and where it is built, with what builds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) toolroot: &'a Toolroot,
    pub(super) kernel: &'a Kernel,
    pub(super) module: &'a Path,
    pub(super) out: &'a Path,
    /// Variables for make.
    pub(super) variables: &'a [String],
}

impl Place<'_> {
    /// The makefiles that the Kbuild file includes, itself among them, and the files that they list for packages, as absolute paths.
    pub(super) fn named_files(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let recipe =
            format!("$(foreach file,$(MAKEFILE_LIST) $({PACKAGE_FILES}),$(info $(abspath $(file))))@:");
        let paths: BTreeSet<PathBuf> = self.ask(&recipe)?.lines().map(PathBuf::from).collect();
        for path in &paths {
            ensure!(
                path.is_file(),
                "{} has {} in {PACKAGE_FILES}, which is no file",
                self.module.display(),
                path.display()
            );
        }
        Ok(paths)
    }

    /// The variables that the Kbuild file exports to the compilers.
    pub(super) fn environment(&self) -> anyhow::Result<Vec<(String, String)>> {
        let own: Vec<&str> = self.settings()?.iter().map(|(name, _)| *name).collect();
        let is_of_make = |name: &str| name.starts_with("MAKE") || name == "MFLAGS" || own.contains(&name);
        let said = self.ask("@env -0")?;
        let variables = said.split('\0').filter_map(|variable| variable.split_once('='));
        let new = variables.filter(|(name, value)| {
            !is_of_make(name) && std::env::var_os(name).is_none_or(|known| known != *value)
        });
        Ok(new.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// What Kbuild has set when it reads the file.
    fn settings(&self) -> anyhow::Result<[(&'static str, String); 6]> {
        let series = self.kernel.series();
        let (version, patchlevel) = series.split_once('.').context("a kernel's series has two numbers")?;
        Ok([
            ("src", self.module.display().to_string()),
            ("obj", self.out.display().to_string()),
            ("srctree", self.kernel.source().display().to_string()),
            ("objtree", self.kernel.build.display().to_string()),
            ("VERSION", version.to_owned()),
            ("PATCHLEVEL", patchlevel.to_owned()),
        ])
    }

    /// What the recipe prints once the file is read.
    fn ask(&self, recipe: &str) -> anyhow::Result<String> {
        let kbuild = ["Kbuild", "Makefile"].into_iter().find(|name| self.module.join(name).is_file());
        let Some(kbuild) = kbuild else { return Ok(String::new()) };
        let folders = [self.module.to_path_buf(), self.out.to_path_buf()];
        let mut make = self.kernel.make(self.toolroot, &folders)?;
        make.arg("--silent").arg("-C").arg(self.module);
        make.arg(format!("--eval=.PHONY: {GOAL}\n{GOAL}:\n\t$(info {ANSWER}){recipe}"));
        make.args(self.settings()?.iter().map(|(name, value)| format!("{name}={value}")))
            .args(self.variables);
        make.arg("-f").arg(self.kernel.build.join("include/config/auto.conf")).args(["-f", kbuild, GOAL]);
        let said = output(&mut make)
            .with_context(|| format!("cannot evaluate {kbuild} in {}", self.module.display()))?;
        let answer = said.split_once(&format!("{ANSWER}\n")).map(|(_, answer)| answer.to_owned());
        answer.with_context(|| format!("make says nothing of {kbuild} in {}", self.module.display()))
    }
}
