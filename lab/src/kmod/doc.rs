// SPDX-License-Identifier: MIT OR Apache-2.0
//! A module's documentation: rustdoc, told all that Kbuild tells rustc.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::{Options, build, folder_of, name_of, out_folder};
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
    let out = out_folder(context, kernel, &module)?;
    let folder = out.join("doc");
    let mut pages = Vec::new();
    let step = Step::new(&format!("Documenting the module {name}"), None);
    for command in compilations(&out)? {
        let arguments = for_rustdoc(&command)?;
        let crate_name = arguments.source.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
        let mut rustdoc = kernel.tools(toolroot).command_with(
            "rustdoc",
            &out,
            &[module.clone(), out.clone(), kernel.build.clone()],
        )?;
        rustdoc.envs(arguments.environment).env("RUSTC_BOOTSTRAP", "1");
        rustdoc
            .args(arguments.flags)
            .arg("--document-private-items")
            .arg("-o")
            .arg(&folder)
            .arg(&arguments.source);
        process::run(&mut rustdoc, &step)?;
        pages.push(folder.join(crate_name).join("index.html"));
    }
    ensure!(!pages.is_empty(), "the module {name} has no Rust source, so there is nothing to document");
    if let Some(missing) = pages.iter().find(|page| !page.is_file()) {
        bail!("rustdoc ended well, but wrote no {}", missing.display());
    }
    step.done();
    Ok(pages)
}

/// The commands by which Kbuild compiled the Rust sources of a folder: the files `.NAME.o.cmd` that it writes.
fn compilations(out: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![out.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?.flatten()
        {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "cmd") {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let command =
                    text.lines().next().and_then(|line| line.split_once(" := ")).map(|(_, command)| command);
                found.extend(command.filter(|command| command.contains("RUST_MODFILE=")).map(str::to_owned));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What of a call of rustc is also for rustdoc.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    environment: Vec<(String, String)>,
    flags: Vec<String>,
    source: PathBuf,
}

fn for_rustdoc(command: &str) -> anyhow::Result<Arguments> {
    let words = shell_words::split(command).context("Kbuild's command is not one")?;
    let mut words = words.into_iter().take_while(|word| word != ";" && word != "&&").map(|word| {
        // The end of a command may stand right behind its last word.
        word.strip_suffix(';').map_or_else(|| word.clone(), str::to_owned)
    });
    let mut environment = Vec::new();
    for word in words.by_ref() {
        match word.split_once('=') {
            Some((name, value)) if !name.starts_with('-') => {
                environment.push((name.to_owned(), value.to_owned()))
            }
            // rustc itself.
            _ => break,
        }
    }
    let (mut flags, mut source) = (Vec::new(), None);
    while let Some(word) = words.next() {
        if word == "--out-dir" {
            words.next();
        } else if ["--emit=", "--error-format=", "--json=", "--remap-path", "-Zallow-features", "-Zremap"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
        {
        } else if !word.starts_with('-') && Path::new(&word).extension().is_some_and(|ending| ending == "rs")
        {
            source = Some(PathBuf::from(word));
        } else {
            flags.push(word);
        }
    }
    Ok(Arguments { environment, flags, source: source.context("Kbuild's command names no source")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustdoc_gets_what_rustc_got() {
        let command = "OBJTREE=/b RUST_MODFILE=hello rustc --edition=2021 -Cpanic=abort --cfg 'A=\"y\"' --extern kernel \
                       --out-dir /o --emit=dep-info=/o/.x.d --emit=obj=/o/hello.o /s/hello.rs  ; /b/objtool /o/hello.o";
        let arguments = for_rustdoc(command).unwrap();
        assert_eq!(arguments.environment[0], ("OBJTREE".into(), "/b".into()));
        assert_eq!(arguments.source, Path::new("/s/hello.rs"));
        assert_eq!(
            arguments.flags,
            ["--edition=2021", "-Cpanic=abort", "--cfg", "A=\"y\"", "--extern", "kernel"]
        );
    }
}
