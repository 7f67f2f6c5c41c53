// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building Exo-Kernel: its own workspace, by the tool tree's rustc and the sources of `core` and `alloc` that belong to it.
//!
//! The tree's cargo works without network: the host's cargo, which knows its proxies and mirrors, first copies every crate
//! that the kernel and those sources name into this checkout's build folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::context::{Context, remove_folder, remove_leftovers, write_whole};
use crate::lock::Lock;
use crate::process;
use crate::programs;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// The target of the kernel: no operating system below it.
const TARGET: &str = "x86_64-unknown-none";
/// Where the tree keeps the sources of the standard library.
const LIBRARY: &str = "usr/lib/rustlib/src/rust/library";

/// How an image is built: a profile of the kernel's workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Rebuilt in seconds after a change; up to a third slower in what it runs.
    Quick,
    /// All crates optimised as one, which takes half a minute: what is tested, shown and measured.
    Optimised,
    /// As [`Quick`](Self::Quick), and it crashes when locks are taken in an order, or held where, they must not be.
    Checked,
}

impl Profile {
    /// Its name for cargo, and that of its folder.
    fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Optimised => "release",
            Self::Checked => "checked",
        }
    }

    /// The image's file name; both may be in use by machines at the same time.
    fn image(self) -> &'static str {
        match self {
            Self::Quick => "exo-kernel-quick.elf",
            Self::Optimised => "exo-kernel.elf",
            Self::Checked => "exo-kernel-checked.elf",
        }
    }

    /// The features of the package `exo-kernel` that it has.
    fn features(self) -> &'static [&'static str] {
        match self {
            Self::Quick | Self::Optimised => &[],
            Self::Checked => &["--features", "lock-checks"],
        }
    }
}

/// An image that a machine can boot.
#[derive(Debug, Clone)]
pub(crate) struct ExoKernel {
    /// The ELF file for QEMU's `-kernel`, with the names of its functions in it.
    pub(crate) image: PathBuf,
    /// The version of its crate.
    pub(crate) release: String,
}

/// The tree's cargo, set up for the kernel's workspace.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    context: &'a Context,
    toolroot: &'a Toolroot,
    /// Where everything goes that is made.
    folder: PathBuf,
    home: PathBuf,
    _lock: Lock,
}

impl<'a> Workshop<'a> {
    /// Gets the crates that are needed, if they are not here yet.
    pub(crate) fn open(context: &'a Context, toolroot: &'a Toolroot, step: &Step) -> anyhow::Result<Self> {
        let folder = context.build().join("exo-kernel");
        let lock = Lock::take(&context.build_lock("exo-kernel"), "builds Exo-Kernel")?;
        let crates = copy_crates(context, toolroot, &folder, step)?;
        let home = folder.join("cargo-home");
        write_whole(&home.join("config.toml"), cargo_configuration(&crates).as_bytes())?;
        Ok(Self { context, toolroot, folder, home, _lock: lock })
    }

    /// A cargo that builds what runs in the tree.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        self.cargo_with(Profile::Optimised, arguments)
    }

    fn cargo_with(&self, profile: Profile, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut cargo = self.toolroot.command("cargo", &workspace(self.context))?;
        cargo.args(arguments).args(["--profile", profile.name(), "--locked", "--offline"]);
        cargo.env("CARGO_HOME", &self.home).env("CARGO_TARGET_DIR", self.target());
        // What the host's cargo and rustup told this process is about the host's compiler.
        for name in [
            "RUSTC",
            "RUSTDOC",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
        ] {
            cargo.env_remove(name);
        }
        Ok(cargo)
    }

    /// A cargo that builds for the bare machine.
    pub(crate) fn bare_cargo(&self, profile: Profile, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut cargo = self.cargo_with(profile, arguments)?;
        cargo.args(["-Zbuild-std=core,alloc", "--target", TARGET]);
        // For -Zbuild-std alone: the code uses stable features only.
        cargo.env("RUSTC_BOOTSTRAP", "1");
        Ok(cargo)
    }

    fn target(&self) -> PathBuf {
        self.folder.join("target")
    }
}

/// Builds the kernel of this checkout.
pub(crate) fn build(context: &Context, toolroot: &Toolroot, profile: Profile) -> anyhow::Result<ExoKernel> {
    let step = Step::new("Building Exo-Kernel", None);
    let workshop = Workshop::open(context, toolroot, &step)?;
    let build = [&["build", "--package", "exo-kernel"], profile.features()].concat();
    process::run(&mut workshop.bare_cargo(profile, &build)?, &step)?;

    // A running machine may still read the image of before, so the new one takes its place whole.
    let unnamed = workshop.target().join(TARGET).join(profile.name()).join("exo-kernel");
    let bytes =
        std::fs::read(&unnamed).with_context(|| format!("the build did not make {}", unnamed.display()))?;
    let fresh = workshop.folder.join("image.new");
    std::fs::write(&fresh, bytes).with_context(|| format!("cannot write {}", fresh.display()))?;
    let mut symbols = workshop.cargo(&["run", "--package", "exo-symbols"])?;
    process::run(symbols.arg("--").arg(&fresh), &step)?;
    let image = workshop.folder.join(profile.image());
    std::fs::rename(&fresh, &image).with_context(|| format!("cannot make {}", image.display()))?;
    step.done();
    Ok(ExoKernel { image, release: release(context)? })
}

/// The kernel's own workspace.
pub(crate) fn workspace(context: &Context) -> PathBuf {
    context.checkout.join("kernel")
}

/// The version of the kernel's crates.
fn release(context: &Context) -> anyhow::Result<String> {
    let path = workspace(context).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: toml::Table = text.parse().with_context(|| format!("{} is no TOML", path.display()))?;
    let version = manifest.get("workspace").and_then(|it| it.get("package")).and_then(|it| it.get("version"));
    let version = version.and_then(toml::Value::as_str);
    Ok(version.with_context(|| format!("{} has no version", path.display()))?.to_owned())
}

/// A folder with the source of every crate that is needed, made anew when the lock file or the tree changes.
fn copy_crates(
    context: &Context,
    toolroot: &Toolroot,
    folder: &Path,
    step: &Step,
) -> anyhow::Result<PathBuf> {
    let lock = workspace(context).join("Cargo.lock");
    let mut key = Sha256::new();
    key.update(std::fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?);
    key.update(toolroot.path().as_os_str().as_encoded_bytes());
    let key: String = key.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let crates = folder.join(format!("crates-{key}"));
    if crates.is_dir() {
        return Ok(crates);
    }
    remove_leftovers(folder, "partial-")?;
    remove_leftovers(folder, "crates-")?;
    let partial = folder.join(format!("partial-{key}"));
    remove_folder(&partial)?;
    step.message("fetching the crates that Exo-Kernel is built with");
    let mut cargo = programs::cargo(context);
    cargo.args(["vendor", "--locked", "--versioned-dirs", "--manifest-path"]);
    cargo.arg(workspace(context).join("Cargo.toml"));
    cargo.arg("--sync").arg(toolroot.path().join(LIBRARY).join("Cargo.toml")).arg(&partial);
    // The standard library's manifests use features that a stable cargo reads only when told to.
    process::run(cargo.env("RUSTC_BOOTSTRAP", "1"), step)?;
    std::fs::rename(&partial, &crates).with_context(|| format!("cannot make {}", crates.display()))?;
    Ok(crates)
}

/// Crates come from that folder and from nowhere else.
fn cargo_configuration(crates: &Path) -> String {
    let folder = toml::Value::from(crates.to_string_lossy().into_owned());
    format!("[source.crates-io]\nreplace-with = \"copies\"\n\n[source.copies]\ndirectory = {folder}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_folder_and_is_toml() {
        let text = cargo_configuration(Path::new("/a b/\"c\""));
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["source"]["copies"]["directory"].as_str(), Some("/a b/\"c\""));
        assert_eq!(table["source"]["crates-io"]["replace-with"].as_str(), Some("copies"));
    }
}
