// SPDX-License-Identifier: MIT OR Apache-2.0
//! How Kbuild compiled the crates of a module: what other programs of Rust's must be told, too.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::kbuild::Place;

/// How one crate was compiled, without what only rustc is told: where its output goes and how its errors look.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compilation {
    environment: Vec<(String, String)>,
    flags: Vec<String>,
    pub(super) source: PathBuf,
}

impl Compilation {
    /// Those of a module that was built, from the files `.NAME.o.cmd` in which Kbuild notes its commands.
    pub(super) fn all_in(place: Place<'_>) -> anyhow::Result<Vec<Self>> {
        let mut all = Self::noted_in(place.out)?;
        let environment = place.environment()?;
        all.iter_mut().for_each(|compilation| compilation.environment.extend_from_slice(&environment));
        Ok(all)
    }

    fn noted_in(out: &Path) -> anyhow::Result<Vec<Self>> {
        let mut commands = Vec::new();
        let mut folders = vec![out.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let entries =
                std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
            for entry in entries.flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "cmd") {
                    let text = std::fs::read_to_string(&path)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    let command = text.lines().next().and_then(|line| line.split_once(" := "));
                    let is_rust = |command: &&str| command.contains("RUST_MODFILE=");
                    commands.extend(command.map(|(_, command)| command).filter(is_rust).map(str::to_owned));
                }
            }
        }
        commands.sort();
        commands.iter().map(|command| Self::of(command)).collect()
    }

    fn of(command: &str) -> anyhow::Result<Self> {
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
            } else if !word.starts_with('-')
                && Path::new(&word).extension().is_some_and(|ending| ending == "rs")
            {
                source = Some(PathBuf::from(word));
            } else {
                flags.push(word);
            }
        }
        Ok(Self { environment, flags, source: source.context("Kbuild's command names no source")? })
    }

    /// What rustc calls the crate.
    pub(super) fn crate_name(&self) -> String {
        self.source.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_")
    }

    /// The same for another program, rustc or rustdoc, in `folder`. What it is to do, and with which source, is for the caller to add.
    pub(super) fn command(&self, program: &str, folder: &Path, place: Place<'_>) -> anyhow::Result<Command> {
        let Place { toolroot, kernel, module, out, .. } = place;
        let folders = [module.to_path_buf(), out.to_path_buf(), kernel.build.clone()];
        let mut command = kernel.tools(toolroot).command_with(program, folder, &folders)?;
        command.envs(self.environment.iter().cloned()).env("RUSTC_BOOTSTRAP", "1").args(&self.flags);
        Ok(command)
    }

    /// The attributes that Kbuild gives the crate, as a source has them.
    pub(super) fn attributes(&self) -> String {
        let attributes = self.flags.iter().filter_map(|flag| flag.strip_prefix("-Zcrate-attr="));
        attributes.map(|attribute| format!("#![{attribute}] ")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_programs_are_told_what_rustc_was_told() {
        let command = "OBJTREE=/b RUST_MODFILE=hello rustc --edition=2021 -Cpanic=abort --cfg 'A=\"y\"' -Zcrate-attr=no_std --extern kernel \
                       --out-dir /o --emit=dep-info=/o/.x.d --emit=obj=/o/hello.o /s/hello.rs  ; /b/objtool /o/hello.o";
        let compilation = Compilation::of(command).unwrap();
        assert_eq!(compilation.environment[0], ("OBJTREE".into(), "/b".into()));
        assert_eq!(compilation.source, Path::new("/s/hello.rs"));
        assert_eq!(
            compilation.flags,
            [
                "--edition=2021",
                "-Cpanic=abort",
                "--cfg",
                "A=\"y\"",
                "-Zcrate-attr=no_std",
                "--extern",
                "kernel"
            ]
        );
        assert_eq!(compilation.attributes(), "#![no_std] ");
    }
}
