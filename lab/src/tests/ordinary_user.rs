// SPDX-License-Identifier: MIT OR Apache-2.0
//! What somebody who is not root meets on a machine that has nothing yet: each thing that is missing by its name, with the command that
//! brings it, from `cargo exo doctor` and from the first command that needs it.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use nix::unistd::Uid;

use super::Lab;
use crate::toolroot::missing_package_advice_to;

/// A user id that owns nothing: the kernel's own for ids that have no other.
const NOBODY: u32 = 65_534;

/// A user without tools, without a cache, and with a checkout of no more than what this program reads.
struct NewUser {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl NewUser {
    fn make(lab: &Lab) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let top = folder.path();
        for name in ["checkout/lab", "home", "bin"] {
            std::fs::create_dir_all(top.join(name)).context("cannot make a folder")?;
        }
        std::fs::set_permissions(top, std::fs::Permissions::from_mode(0o755))
            .context("cannot open a folder")?;
        let definition = "lab/toolroot.toml";
        std::fs::copy(lab.parts.context.checkout.join(definition), top.join("checkout").join(definition))
            .context("cannot copy the definition")?;
        // Where this program lies, others may not be let in.
        let program = top.join("exo");
        std::fs::copy(std::env::current_exe().context("cannot find this program")?, &program)
            .context("cannot copy this program")?;
        if Uid::effective().is_root() {
            chown(top.join("home"), Some(NOBODY), Some(NOBODY)).context("cannot give a folder away")?;
        }
        Ok(Self { folder, program })
    }

    /// Puts a program on the search path, which is else empty.
    fn install(&self, name: &str) -> anyhow::Result<()> {
        let path = self.folder.path().join("bin").join(name);
        std::fs::write(&path, "#!/bin/sh\nexit 1\n").context("cannot write a program")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .context("cannot write a program")
    }

    /// Runs this program as that user; what it said on both streams, and whether it succeeded.
    fn run(&self, words: &[&str]) -> anyhow::Result<(bool, String)> {
        let top: &Path = self.folder.path();
        let mut command = Command::new(&self.program);
        command.args(words).env_clear().current_dir("/");
        command.env("HOME", top.join("home")).env("PATH", top.join("bin"));
        command
            .env("CARGO_MANIFEST_DIR", top.join("checkout/lab"))
            .env("CARGO_TARGET_DIR", top.join("home/target"));
        if Uid::effective().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().context("cannot start this program")?;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok((output.status.success(), said.concat()))
    }
}

/// `uidmap` was once noticed by mmdebstrap alone, in words that named neither it nor a way out.
pub(super) fn what_is_missing_is_named(lab: &Lab) -> anyhow::Result<()> {
    let user = NewUser::make(lab)?;
    let advice = ["mmdebstrap", "uidmap"].map(|package| missing_package_advice_to(false, package));
    let (fine, said) = user.run(&["doctor"])?;
    ensure!(!fine, "doctor finds nothing missing:\n{said}");
    for part in ["mmdebstrap, which making", &advice[0], "newuidmap, which making", &advice[1]] {
        ensure!(said.contains(part), "doctor does not say {part:?}:\n{said}");
    }
    // The first command that needs the tools says the same.
    let (fine, said) = user.run(&["kmod", "--kdir"])?;
    let both = missing_package_advice_to(false, "mmdebstrap uidmap");
    ensure!(!fine && said.contains(&both), "the first start does not say {both:?}:\n{said}");

    user.install("mmdebstrap")?;
    let (fine, said) = user.run(&["kmod", "--kdir"])?;
    ensure!(!fine && said.contains(&advice[1]), "the first start does not say {:?}:\n{said}", advice[1]);
    Ok(())
}

/// With both installed, a user without a range of ids is told how to get one; nobody has none, and whoever runs this as an ordinary user
/// may have.
pub(super) fn missing_ids_are_named(lab: &Lab) -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let user = NewUser::make(lab)?;
    user.install("mmdebstrap")?;
    user.install("newuidmap")?;
    for words in [&["doctor"][..], &["kmod", "--kdir"]] {
        let (fine, said) = user.run(words)?;
        ensure!(!fine && said.contains("sudo usermod --add-subuids"), "{words:?} said:\n{said}");
    }
    Ok(())
}
