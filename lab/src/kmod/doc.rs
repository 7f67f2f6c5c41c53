// SPDX-License-Identifier: MIT OR Apache-2.0
//! A module's documentation: rustdoc, told all that Kbuild tells rustc.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};

use super::compilations::Compilation;
use super::kbuild::Place;
use super::{Options, build, built_in, folder_of, name_of};
use crate::context::Context;
use crate::kernel::Kernel;
use crate::process;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// Writes the documentation and returns the first page of each crate of the module.
pub(crate) fn document(
    context: &Context,
    toolroot: &Toolroot,
    kernel: &Kernel,
    module: &Path,
    variables: &[String],
) -> anyhow::Result<Vec<PathBuf>> {
    let module = folder_of(module)?;
    let name = name_of(&module);
    // Kbuild says how it called rustc when it has done so.
    build(context, toolroot, kernel, &module, Options { variables, ..Options::default() })?;
    let out = built_in(context, kernel, &module)?;
    let folder = out.join("doc");
    let mut pages = Vec::new();
    let step = Step::new(&format!("Documenting the module {name}"), None);
    let place = Place { toolroot, kernel, module: &module, out: &out, variables };
    for compilation in Compilation::all_in(place)? {
        let mut rustdoc = compilation.command("rustdoc", &out, place)?;
        rustdoc.arg("--document-private-items").arg("-o").arg(&folder).arg(&compilation.source);
        process::run(&mut rustdoc, &step)?;
        pages.push(folder.join(compilation.crate_name()).join("index.html"));
    }
    ensure!(!pages.is_empty(), "the module {name} has no Rust source, so there is nothing to document");
    if let Some(missing) = pages.iter().find(|page| !page.is_file()) {
        bail!("rustdoc ended well, but wrote no {}", missing.display());
    }
    step.done();
    Ok(pages)
}
