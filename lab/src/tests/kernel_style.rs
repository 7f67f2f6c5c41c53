// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel's own tools say of `linux/`: its formatting, its lints, checkpatch; and whether the examples in the
//! documentation of the modules' parts compile.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::Lab;
use crate::kmod::{self, check};

/// Folders below `linux` with a module each.
const MODULES: [&str; 4] = ["my_rng", "procmon", "chardev/example", "chardev/misc-example"];

fn linux(lab: &Lab) -> PathBuf {
    lab.parts.context.checkout.join("linux")
}

/// All files below `folder` with one of these endings.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, endings, found)?;
        } else if path.extension().is_some_and(|found| endings.iter().any(|ending| found == *ending)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// A command in the tool tree that sees the checkout and the kernel's source.
fn command(lab: &Lab, program: &str) -> anyhow::Result<Command> {
    let place = lab.parts.linux()?.kernel.place.clone();
    lab.parts.toolroot.command_with(program, &linux(lab), &[lab.parts.context.checkout.clone(), place])
}

/// `rustfmt` with the configuration of the kernel's source, and nothing of the workspace's.
pub(super) fn the_kernels_rustfmt_is_content(lab: &Lab) -> anyhow::Result<()> {
    let parts = &lab.parts;
    let mut sources = Vec::new();
    files(&linux(lab), &["rs"], &mut sources)?;
    ensure!(sources.len() > 50, "only {} files were found", sources.len());
    check::check_format(&parts.toolroot, &parts.linux()?.kernel, &linux(lab))
}

/// The kernel's lints, by `make CLIPPY=1`: no warning.
pub(super) fn the_kernels_clippy_is_content(lab: &Lab) -> anyhow::Result<()> {
    let parts = &lab.parts;
    for name in MODULES {
        let options = kmod::Options { clippy: true, ..kmod::Options::default() };
        kmod::build(
            &parts.context,
            &parts.toolroot,
            &parts.linux()?.kernel,
            &linux(lab).join(name),
            options,
        )?;
    }
    Ok(())
}

/// `checkpatch.pl --strict` on every file.
pub(super) fn checkpatch_is_content(lab: &Lab) -> anyhow::Result<()> {
    let mut sources = Vec::new();
    files(&linux(lab), &["rs", "c", "h"], &mut sources)?;
    // Written as the kernel's own `rust/exports.c`, of which checkpatch thinks as little.
    sources.retain(|path| !path.to_string_lossy().ends_with("_exports.c"));
    let script = lab.parts.linux()?.kernel.place.join("source/scripts/checkpatch.pl");
    let output = command(lab, "perl")?
        .arg(script)
        .args(["--strict", "--no-tree", "--terse", "--show-types", "--no-summary", "-f"])
        .args(sources)
        .output()?;
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && told.trim().is_empty(), "checkpatch says:\n{told}");
    Ok(())
}

/// What stands before the examples in a module that is made of them.
const PRELUDE: &str = r#"// SPDX-License-Identifier: GPL-2.0
//! The examples in the documentation of `chardev` and `mechanisms`.
#![allow(dead_code, unused, clippy::undocumented_unsafe_blocks)]

use kernel::prelude::*;

module! {
    type: Examples,
    name: "doc_examples",
    authors: ["The Exo authors"],
    description: "Examples in documentation",
    license: "GPL",
}

struct Examples;

impl kernel::Module for Examples {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Examples)
    }
}

#[path = "CHARDEV/mod.rs"]
pub mod chardev;
"#;

/// The examples of a source: the blocks in its `//!` and `///` comments that are Rust, with what they hide.
fn examples(source: &str) -> Vec<String> {
    let (mut found, mut current) = (Vec::new(), None::<String>);
    let mut is_other_language = false;
    for line in source.lines() {
        let line = line.trim_start();
        let Some(text) = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")) else { continue };
        let text = text.strip_prefix(' ').unwrap_or(text);
        match (text.strip_prefix("```"), &mut current) {
            (Some(""), None) if is_other_language => is_other_language = false,
            // rustdoc leaves out what is for the inside of a crate; here it is inside of one.
            (Some("" | "ignore"), None) => current = Some(String::new()),
            (Some(_), None) => is_other_language = true,
            (Some(_), Some(_)) => found.extend(current.take()),
            (None, Some(example)) => {
                example.push_str(text.strip_prefix("# ").unwrap_or(text));
                example.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// Each example, in a module of its own of one kernel module.
pub(super) fn examples_in_documentation_compile(lab: &Lab) -> anyhow::Result<()> {
    let mut sources = Vec::new();
    for part in ["chardev", "mechanisms"] {
        files(&linux(lab).join(part), &["rs"], &mut sources)?;
    }
    let chardev = linux(lab).join("chardev");
    let mut module = PRELUDE.replace("CHARDEV", &chardev.display().to_string());
    let mut count = 0;
    for source in sources {
        for example in examples(&std::fs::read_to_string(&source)?) {
            // How to take the sources in is what the module itself does.
            if example.starts_with("#[path") {
                continue;
            }
            count += 1;
            module += &format!(
                "\n/// Of {}.\nmod example_{count} {{\nuse crate::chardev;\nuse kernel::prelude::*;\n{example}}}\n",
                source.display()
            );
        }
    }
    if count == 0 {
        bail!("no example was found");
    }
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    std::fs::write(folder.path().join("doc_examples.rs"), module).context("cannot write the examples")?;
    std::fs::write(folder.path().join("Kbuild"), "obj-m := doc_examples.o\n").context("cannot write")?;
    let parts = &lab.parts;
    let kernel = &parts.linux()?.kernel;
    kmod::build(&parts.context, &parts.toolroot, kernel, folder.path(), kmod::Options::default())?;
    crate::context::remove_folder(&kmod::out_folder(&parts.context, kernel, &folder.path().canonicalize()?)?)
}

#[cfg(test)]
mod tests {
    use super::examples;

    #[test]
    fn examples_are_found_with_what_they_hide() {
        let source = "//! Text.\n//!\n//! ```\n//! # hidden();\n//! shown();\n//! ```\n//! ```sh\n//! ls\n//! ```\n/// ```ignore\n/// other();\n/// ```\nfn f() {}\n";
        assert_eq!(examples(source), ["hidden();\nshown();\n", "other();\n"]);
    }
}
